"""Exports can be loaded with `datasets`, and hostile text cannot break their cards."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stepmark import plugins
from stepmark.errors import ConfigError, DatasetError
from stepmark.records import StepAnnotation
from storage.dataset import parts
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, discovered
from storage.formats.base import HasSoftLabels
from storage.formats.trl import Trl
from storage.publishing import export as export_module
from storage.publishing import files
from storage.publishing.export import export
from storage.publishing.row_options import RowOptions
from tests.pipelines.running import REPOSITORY
from tests.storage.samples import (
    ANNOTATION,
    BAD,
    DISCOVERED,
    GOOD,
    LABEL,
    PROBLEM,
    SOLUTION_FORMATS,
    TRACE,
    UNKNOWN,
    labelled,
)

# Formats of replies of judges, of which `filled` has none that agrees with its labels. They are
# loaded in `tests.storage.test_verifier_formats`.
REPLY_FORMATS = {"critique_pairs", "verification"}
LABEL_FORMATS = [
    name
    for name in plugins.available("storage.formats")
    if name not in {*REPLY_FORMATS, *SOLUTION_FORMATS}
]
"""The formats of labels alone; `tests.storage.test_solution_formats` loads the others."""


def load(folder: Path, split: str = "train", config: str | None = None) -> Any:
    """Load an exported folder with `datasets`, with a cache in its parent folder."""
    import datasets

    cache = str(folder.parent / "cache")
    return datasets.load_dataset(str(folder), config, split=split, cache_dir=cache)


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", LABEL_FORMATS)
def test_datasets_loads_the_export(filled: Dataset, tmp_path: Path, name: str) -> None:
    exporter = plugins.load("storage.formats", name)()
    done = export(filled, exporter, str(tmp_path / "out"))
    if isinstance(exporter, HasSoftLabels) and exporter.soft:
        # One of the two kept labels has no values, so that it has no row in these formats.
        assert done.rows == 1
        assert done.left_out == {"its label is not kept": 1, "no step has a value": 1}
    else:
        assert done.rows == 2
        assert done.left_out == {"its label is not kept": 1}
    rows = load(tmp_path / "out", exporter.split, name)
    assert rows.column_names == exporter.schema.names
    assert rows.num_rows == done.rows


def test_datasets_loads_a_second_export(filled: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(filled, Trl(), str(folder))
    assert load(folder).num_rows == 2
    # `datasets` caches rows by the name of the folder and its card.
    export(filled, Trl(), str(folder), options=RowOptions(limit=1))
    assert load(folder).num_rows == 1
    card = (folder / "README.md").read_bytes()
    export(filled, Trl(), str(folder), options=RowOptions(limit=1))
    assert (folder / "README.md").read_bytes() == card


def test_trl_rows_survive_the_export(filled: Dataset, tmp_path: Path) -> None:
    export(filled, Trl(), str(tmp_path / "out"))
    assert load(tmp_path / "out").to_list() == [
        {
            "prompt": PROBLEM.question,
            "completions": ["2 + 3 = 5", "5 * 4 = 20", "The answer is 20."],
            "labels": [True] * 3,
        },
        {"prompt": PROBLEM.question, "completions": ["step 0", "step 1"], "labels": [True, False]},
    ]


def test_discovered_traces_are_exported(filled: Dataset, tmp_path: Path) -> None:
    filled.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    filled.write_part(LABELS, 0, [*filled.read(LABELS), replace(LABEL, trace_id="t3")], "f")
    filled.write_part(
        annotations("tree_search"), 0, [replace(ANNOTATION, trace_id="t3", error=None)], "f"
    )
    assert export(filled, Trl(), str(tmp_path / "out")).rows == 3
    by_method = export(filled, Trl(), str(tmp_path / "by"), labels_by="tree_search")
    assert (by_method.rows, by_method.left_out) == (1, {"it has no label": 3})


def test_empty_export_states_reasons(dataset: Dataset, tmp_path: Path) -> None:
    dataset.write_run_file("")
    with pytest.raises(DatasetError, match=r"^nothing to export: the dataset has no traces$"):
        export(dataset, Trl(), str(tmp_path / "out"))
    trace, label = labelled("t", GOOD, kept=False)
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, [trace, TRACE], "f")
    dataset.write_part(LABELS, 0, [label], "f")
    with pytest.raises(
        DatasetError, match=r"^nothing to export: 1 × its label is not kept, 1 × it has no label$"
    ):
        export(dataset, Trl(), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("index", [3, -1])
def test_missing_neutral_steps_are_counted(index: int, on_disk: Dataset, tmp_path: Path) -> None:
    steps = tuple(StepAnnotation(verdict=verdict) for verdict in (GOOD, BAD, UNKNOWN))
    rated = replace(ANNOTATION, method="human", steps=steps, first_error=1, error=None)
    damaged = replace(rated, neutral_steps=(0, index))
    sound = replace(rated, trace_id="t1", neutral_steps=(0,))
    on_disk.write_part(annotations("human"), 0, [damaged, sound], "f")
    for neutral, labels in ((GOOD, [True, False]), (BAD, [False])):
        folder = tmp_path / neutral
        done = export(on_disk, Trl(), str(folder), labels_by="human", neutral=neutral)
        assert done.left_out["a neutral step of its label does not exist"] == 1
        assert [row["labels"] for row in load(folder).to_list()] == [labels]


def test_incomplete_traces_are_counted(dataset: Dataset, tmp_path: Path) -> None:
    orphan = replace(TRACE, trace_id="orphan", problem_id="gone")
    unlabelled = replace(TRACE, trace_id="unlabelled")
    short, label = labelled("short", GOOD)
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(
        TRACES, 0, [TRACE, orphan, unlabelled, replace(short, steps=("a", "b"))], "f"
    )
    dataset.write_part(TRACES, 1, [TRACE], "f")
    dataset.write_part(LABELS, 0, [LABEL, label], "f")
    done = export(dataset, Trl(), str(tmp_path / "out"))
    assert done.rows == 1
    assert done.left_out == {
        "its problem is missing": 2,
        "it has no label": 1,
        "its label is of another number of steps": 1,
    }


def test_export_is_sharded_and_replaced(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces, labels = zip(*[labelled(str(index), GOOD) for index in range(200)], strict=True)
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    dataset.write_part(LABELS, 0, labels, "f")
    out = tmp_path / "out"
    with monkeypatch.context() as small:
        small.setattr(parts, "ROW_GROUP_BYTES", 1)
        small.setattr(parts, "BATCH_ROWS", 50)
        small.setattr(files, "SHARD_BYTES", 1)
        export(dataset, Trl(), str(out))
    assert file_names(out / "data") == [
        "train-00000-of-00004.parquet",
        "train-00001-of-00004.parquet",
        "train-00002-of-00004.parquet",
        "train-00003-of-00004.parquet",
    ]
    assert load(out).num_rows == 200
    export(dataset, Trl(), str(out))
    assert file_names(out / "data") == ["train-00000-of-00001.parquet"]
    assert not any(name.startswith(".") for name in file_names(tmp_path))


# An export that ends without a chance to clean up.
KILLED_EXPORT = """
import os, sys
from pathlib import Path
from storage.publishing import export
with export._scratch_folder(Path(sys.argv[1])) as scratch:
    Path(scratch, "new").mkdir()
    os.kill(os.getpid(), 9)
"""


def test_leftovers_of_killed_exports_are_removed(filled: Dataset, tmp_path: Path) -> None:
    target = tmp_path / "new" / "train"
    target.parent.mkdir()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED_EXPORT, target], cwd=REPOSITORY, check=False)
    (leftover,) = file_names(target.parent)
    (target.parent / ".train-of-mine").mkdir()
    # Another export runs.
    with export_module._scratch_folder(target) as running:
        export(filled, Trl(), str(target))
        names = {".train-of-mine", Path(running).name, "train"}
        assert set(file_names(target.parent)) == names
    assert leftover not in names


def test_killed_export_keeps_earlier_one(on_disk: Dataset, tmp_path: Path) -> None:
    """Kill an export between the two renames, then start another one that fails."""
    target = tmp_path / "out"
    export(on_disk, Trl(), str(target))
    for name in (".out-a1b2c3d4", ".out-more-a1b2c3d4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.lock").touch()
    target.rename(tmp_path / ".out-a1b2c3d4" / "old")
    nothing = RowOptions(traces=frozenset())
    with pytest.raises(DatasetError, match="nothing to export"):
        export(on_disk, Trl(), str(target), options=nothing)
    assert load(target).num_rows == 2
    # It belongs to another target.
    assert file_names(tmp_path) == [".out-more-a1b2c3d4", "cache", "out", "sample"]


def test_failed_rename_keeps_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(FileNotFoundError):
        export_module._replace(target, tmp_path / "none", tmp_path / "old")
    assert file_names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["notes.txt", "data/train.csv", ".git/config"])
def test_folder_with_files_is_kept(on_disk: Dataset, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"which no export wrote; name a new folder"):
        export(on_disk, Trl(), str(tmp_path / "out"))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]


def test_foreign_dataset_is_kept(on_disk: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("# Mine")
    with pytest.raises(ConfigError, match="it holds files that no export wrote; name a new folder"):
        export(on_disk, Trl(), str(tmp_path / "out"))
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine"


def test_dataset_does_not_replace_itself(on_disk: Dataset) -> None:
    with pytest.raises(ConfigError, match="which no export wrote"):
        export(on_disk, Trl(), on_disk.uri)
    assert on_disk.count(TRACES) == 3


def test_failed_export_keeps_earlier_one(on_disk: Dataset, tmp_path: Path) -> None:
    export(on_disk, Trl(), str(tmp_path / "out"))
    Path(on_disk.uri, "labels/part-00000.parquet").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"labels/part-00000\.parquet is damaged"):
        export(on_disk, Trl(), str(tmp_path / "out"))
    assert load(tmp_path / "out").num_rows == 2
    assert file_names(tmp_path) == ["cache", "out", "sample"]


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        (
            "s3://bucket/x",
            "cannot export to s3://bucket/x; name a folder or hf://datasets/ORG/NAME",
        ),
        ("hf://org/name", "use hf://datasets/ORG/NAME"),
        ("hf:/datasets/org/name", "cannot export to hf:/datasets/org/name; name a folder or hf:"),
        ("hf://datasets/name", "use hf://datasets/ORG/NAME"),
        ("hf://datasets/../x", "use hf://datasets/ORG/NAME"),
        ("hf://datasets/a/b@main", "use hf://datasets/ORG/NAME"),
        ("", "cannot export to '': name a folder"),
        ("a\x1b[2J", r"cannot export to 'a\\x1b\[2J': name a folder"),
        ("caf\udce9", r"cannot export to 'caf\\udce9': name a folder"),
        ("~no-such-user/x", "Could not determine home directory"),
        (".", "cannot export to .: the command runs in it"),
        ("none/../..", "the command runs in it"),
    ],
)
def test_invalid_destination_is_rejected(on_disk: Dataset, destination: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export(on_disk, Trl(), destination)


def test_unwritable_destination_is_an_error(on_disk: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*: File exists"):
        export(on_disk, Trl(), str(tmp_path / "file" / "out"))
    with pytest.raises(ConfigError, match="it is a file"):
        export(on_disk, Trl(), str(tmp_path / "file"))


def test_missing_dataset_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset at "):
        export(Dataset(str(tmp_path / "none")), Trl(), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_exported_parquet_has_plain_schema(on_disk: Dataset, tmp_path: Path) -> None:
    export(on_disk, Trl(), str(tmp_path / "out"))
    [path] = (tmp_path / "out" / "data").iterdir()
    schema = pq.read_schema(path)
    assert schema.equals(Trl.schema)
    assert json.dumps(schema.names) == '["prompt", "completions", "labels"]'
