"""`stepmark import --shape potato`: labels of people for the traces of a dataset."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.importing.annotation_import import import_annotations
from stepmark.errors import DatasetError, InputError
from stepmark.records import Annotation, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations, discovered
from storage.formats.potato import Potato
from storage.formats.processbench import ProcessBench
from storage.labelling.events import Kind, Mark
from storage.labelling.label_store import LabelStore, LabelTarget
from storage.publishing.export import export
from tests.columns import column
from tests.json_lines import write_json_lines
from tests.storage.samples import ANNOTATION, DISCOVERED, TRACE, fill

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "sample"))
    fill(sample)
    # A second shard.
    sample.write_part(TRACES, 1, [replace(TRACE, trace_id="t9", steps=("a",))], "f")
    return sample


def row(trace_id: str = "t0", rewards: Any = (1, 1, -1), **changes: Any) -> dict[str, Any]:
    """Return a row as Potato 2.7 writes it."""
    steps = []
    for index, reward in enumerate(rewards):
        steps.append({"index": index, "reward": reward, "source": "human", "verified": True})
    base = {"instance_id": trace_id, "annotator": "ann", "steps": steps, "mode": "per_step"}
    return {**base, **changes}


def write(tmp_path: Path, *rows: object) -> list[str]:
    return [write_json_lines(tmp_path / "prm_training_data.jsonl", *rows)]


def labels(dataset: Dataset, method: str = "human_ann") -> list[Annotation]:
    return list(dataset.read(annotations(method)))


def verdicts(annotation: Annotation) -> list[Verdict]:
    return column(annotation.steps, "verdict")


def verdicts_by_trace(dataset: Dataset) -> Mapping[str, list[Verdict]]:
    return {label.trace_id: verdicts(label) for label in labels(dataset)}


def without_fingerprints(rows: Iterable[Annotation]) -> list[Annotation]:
    return [replace(row, fingerprint="") for row in rows]


def exported_files(folder: Path) -> list[str]:
    """Return the data files of an export, as `stepmark import` takes them."""
    return list(map(str, (folder / "data").iterdir()))


def test_each_person_becomes_a_method(dataset: Dataset, tmp_path: Path) -> None:
    rows = [row(), row("t9", [1]), row(annotator="Bob B"), row("t1", [1, 1, 1], annotator="bob_b")]
    done = import_annotations(write(tmp_path, *rows), dataset.uri)
    assert done.rejected == []
    assert done.labelled == {"human_ann": 2, "human_bob_b": 1, "human_bob_b_1c3ee9fd": 1}
    first, second = labels(dataset)
    assert (first.trace_id, verdicts(first), first.first_error) == ("t0", [C, C, I], 2)
    assert (second.trace_id, verdicts(second), second.first_error) == ("t9", [C], -1)


@pytest.mark.parametrize(
    ("rewards", "changes", "expected"),
    [
        ([1, None, -1], {}, [C, U, I]),
        ([1, 0, -1], {}, [C, U, I]),
        # Potato marks the steps after the first error by itself.
        ([1, -1, -1], {"mode": "first_error"}, [C, I, U]),
        ([1, -1, -1], {"mode": "per_step"}, [C, I, I]),
    ],
)
def test_rewards_become_verdicts(
    dataset: Dataset,
    tmp_path: Path,
    rewards: list[int | None],
    changes: dict[str, str],
    expected: list[Verdict],
) -> None:
    import_annotations(write(tmp_path, row(rewards=rewards, **changes)), dataset.uri)
    (label,) = labels(dataset)
    assert verdicts(label) == expected
    assert label.neutral_steps == ()


def test_zero_can_be_neutral(dataset: Dataset, tmp_path: Path) -> None:
    paths = write(tmp_path, row(rewards=[1, 0, -1]))
    import_annotations(paths, dataset.uri, zero_is_neutral=True)
    (label,) = labels(dataset)
    assert (verdicts(label), label.neutral_steps, label.first_error) == ([C, C, I], (1,), 2)


def test_unverified_suggestions_are_unknown(dataset: Dataset, tmp_path: Path) -> None:
    suggestion = {"index": 1, "reward": -1, "source": "ai", "ai_reward": -1, "confidence": 0.9}
    item = row(rewards=[1, 1, 1])
    item["steps"][1] = {**suggestion, "verified": False}
    item["steps"][2] = {**suggestion, "index": 2, "verified": True}
    import_annotations(write(tmp_path, item), dataset.uri, zero_is_neutral=True)
    (label,) = labels(dataset)
    assert verdicts(label) == [C, U, I]


def test_repeated_import_replaces_labels(dataset: Dataset, tmp_path: Path) -> None:
    import_annotations(write(tmp_path, row(), row("t1", [1, 1, 1])), dataset.uri)
    import_annotations(write(tmp_path, row(rewards=[-1, 1, 1])), dataset.uri)
    assert verdicts_by_trace(dataset) == {"t0": [I, C, C], "t1": [C, C, C]}
    # The last row of a file counts.
    import_annotations(
        write(tmp_path, row(rewards=[1, 1, 1]), row(rewards=[1, 1, -1])), dataset.uri
    )
    assert verdicts_by_trace(dataset) == {"t0": [C, C, I], "t1": [C, C, C]}


def test_discovered_traces_are_labelled(dataset: Dataset, tmp_path: Path) -> None:
    dataset.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    import_annotations(write(tmp_path, row("t3")), dataset.uri)
    assert column(labels(dataset), "trace_id") == ["t3"]


def test_damaged_labels_are_not_replaced(dataset: Dataset, tmp_path: Path) -> None:
    import_annotations(write(tmp_path, row()), dataset.uri)
    part = Path(dataset.uri, "annotations/human_ann/part-00000.parquet")
    part.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="damaged"):
        import_annotations(write(tmp_path, row("t1")), dataset.uri)
    assert part.read_bytes() == b"damaged"


INVALID = {
    "instance_id: the dataset has no such trace": row("t7"),
    "steps: 2 steps, but the trace has 3": row(rewards=[1, 1]),
    "steps: no step is labelled by a person": row(rewards=[None, None, None]),
    "steps: missing": row(steps=None),
    "steps: a str, not a list": row(steps="x"),
    "steps.0: not an object": row(steps=[1, 1, 1]),
    "steps.1.reward: not 1, 0, -1 or null": row(rewards=[1, 2, 1]),
    "steps.0.reward: not 1, 0, -1 or null": row(rewards=[True, 1, 1]),
    "steps.2.reward: not 1, 0, -1 or null": row(rewards=[1, 1, [1]]),
    "steps.0.index: not 0: the steps are not in order": row(steps=[{"index": 1, "reward": 1}]),
    "annotator: missing": row(annotator=None),
}


@pytest.mark.parametrize("problem", INVALID)
def test_unusable_rows_are_set_aside(dataset: Dataset, tmp_path: Path, problem: str) -> None:
    done = import_annotations(write(tmp_path, INVALID[problem], row("t9", [1])), dataset.uri)
    assert [f"{item.field}: {item.reason}" for item in done.rejected] == [problem]
    assert done.labelled == {"human_ann": 1}


def test_nothing_to_import_is_an_error(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing was changed; .*, row 1, field 'instance_id'"):
        import_annotations(write(tmp_path, row("t7")), dataset.uri)
    assert "human_ann" not in dataset.methods("annotations")


@pytest.mark.parametrize("annotator", ["../x", "a/b", "A" * 500, "\x1b[31m", "é", "_", "-"])
def test_hostile_names_are_no_paths(dataset: Dataset, tmp_path: Path, annotator: str) -> None:
    done = import_annotations(write(tmp_path, row(annotator=annotator)), dataset.uri)
    (method,) = done.labelled
    assert method.startswith("human_")
    assert column(labels(dataset, method), "trace_id") == ["t0"]


def test_exported_labels_come_back(dataset: Dataset, tmp_path: Path) -> None:
    import_annotations(
        write(tmp_path, row(rewards=[1, 0, -1]), row("t1", [1, None, -1])),
        dataset.uri,
        zero_is_neutral=True,
    )
    before = labels(dataset)
    export(dataset, Potato(), str(tmp_path / "out"), labels_by="human_ann")
    files = exported_files(tmp_path / "out")
    dataset.remove_part(annotations("human_ann"), 0)
    import_annotations(files, dataset.uri, zero_is_neutral=True)
    assert labels(dataset) == before


def test_labels_by_hand_come_back(dataset: Dataset, tmp_path: Path) -> None:
    store = LabelStore.open(dataset)
    marks = (Mark.RIGHT, Mark.NEUTRAL, Mark.WRONG)
    for trace in dataset.read_part(TRACES, 0):
        target = LabelTarget(rater="ann-lee", trace=trace, shard=0, mode="blind")
        for step, mark in enumerate(marks[-len(trace.steps) :]):
            store.save(target, Kind.MARK, step=step, mark=mark)
        store.save(target, Kind.FINISH)
    before = labels(dataset, "human_ann_lee")
    errors = [len(label.steps) - 1 for label in before]
    assert column(before, "first_error") == errors
    assert all(column(before, "neutral_steps"))
    export(dataset, Potato(), str(tmp_path / "out"), labels_by="human_ann_lee")
    files = exported_files(tmp_path / "out")
    dataset.remove_part(annotations("human_ann_lee"), 0)
    done = import_annotations(files, dataset.uri, zero_is_neutral=True)
    assert done.labelled == {"human_ann_lee": len(before)}
    after = labels(dataset, "human_ann_lee")
    assert without_fingerprints(after) == without_fingerprints(before)
    export(dataset, ProcessBench(), str(tmp_path / "bench"), labels_by="human_ann_lee")
    (file,) = (tmp_path / "bench" / "data").iterdir()
    assert [row["label"] for row in pq.read_table(file).to_pylist()] == errors


def test_equal_import_keeps_comments(dataset: Dataset, tmp_path: Path) -> None:
    trace = next(iter(dataset.read_part(TRACES, 0)))
    # Its name is not changed by the way through a file.
    target = LabelTarget(rater="-ann--lee", trace=trace, shard=0, mode="blind")
    store = LabelStore.open(dataset)
    store.save(target, Kind.COMMENT, step=0, text="because")
    store.save(target, Kind.MARK, step=0, mark=Mark.NEUTRAL)
    store.save(target, Kind.NO_ERROR)
    store.save(target, Kind.FINISH)
    before = labels(dataset, "human__ann__lee")
    export(dataset, Potato(), str(tmp_path / "out"), labels_by="human__ann__lee")
    files = exported_files(tmp_path / "out")
    for zero_is_neutral in (False, True):
        done = import_annotations(files, dataset.uri, zero_is_neutral=zero_is_neutral)
        assert done.labelled == {"human__ann__lee": 1}
        assert labels(dataset, "human__ann__lee") == before
    assert before[0].neutral_steps == (0,)
    assert before[0].steps[0].rationale == "because"


def test_exported_suggestions_are_no_labels(dataset: Dataset, tmp_path: Path) -> None:
    rows = [replace(ANNOTATION, error=None)]
    dataset.write_part(annotations("judge"), 0, rows, "f")
    export(dataset, Potato(), str(tmp_path / "out"), labels_by="judge")
    files = exported_files(tmp_path / "out")
    with pytest.raises(InputError, match="no step is labelled by a person"):
        import_annotations(files, dataset.uri)


def test_command_prints_rejected_rows(
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (path,) = write(tmp_path, row(), row("\x1b[31m"))
    arguments = ["import", path, "--shape", "potato", "--dataset", dataset.uri]
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    output = capsys.readouterr()
    assert "labels by human_ann" in output.out
    assert output.err == (
        f"set aside: {path}, row 2, field 'instance_id': the dataset has no such trace\n"
    )


@pytest.mark.parametrize("options", [["--shape", "potato", "--map", "a=b"], ["--zero-is-neutral"]])
def test_command_rejects_other_options(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    (path,) = write(tmp_path, row())
    arguments = ["import", path, "--dataset", dataset.uri, *options]
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
