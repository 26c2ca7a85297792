"""`verify` finds damage and tables that disagree, and says how to repair them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.dataset.verify import verify
from tests.storage.samples import (
    ANNOTATION,
    CRITIQUE,
    DISCOVERED,
    LABEL,
    PROBLEM,
    ROLLOUT,
    TRACE,
)

FROM_STORE = "delete it, and `stepmark run` makes it again from stored completions"
PROBLEM_2 = replace(PROBLEM, problem_id="p1")
TRACE_2 = replace(TRACE, trace_id="t1", problem_id="p1")


def write_method(dataset: Dataset, shard: int, trace_id: str) -> None:
    """Write all parts of the method judge for one trace."""
    rollout = replace(ROLLOUT, rollout_id=f"r{shard}", trace_id=trace_id)
    siblings = {
        "rollouts": dataset.write_part(rollouts("judge"), shard, [rollout], "f"),
        "critiques": dataset.write_part(
            critiques("judge"), shard, [replace(CRITIQUE, trace_id=trace_id)], "f"
        ),
    }
    row = replace(ANNOTATION, trace_id=trace_id)
    dataset.write_part(annotations("judge"), shard, [row], "f", tables=siblings)


@pytest.mark.parametrize("dataset", ["disk"], indirect=True)
def test_part_without_content_is_found(consistent: Dataset) -> None:
    """A missing part is not a fault by itself, but a link to nothing in its place is."""
    folder = Path(consistent.folder.root)
    consistent.remove_part(LABELS, 0)
    consistent.remove_part(LABELS, 1)
    (folder / consistent.path(LABELS, 0)).symlink_to(folder / "nothing")
    (folder / consistent.path(LABELS, 1)).mkdir()
    found = [(finding.path, finding.fault) for finding in verify(consistent)]
    assert found == [(consistent.path(LABELS, shard), "not a file") for shard in (0, 1)]


@pytest.fixture
def consistent(dataset: Dataset) -> Dataset:
    """Write a dataset of two shards without any fault."""
    for shard, (problem, trace) in enumerate([(PROBLEM, TRACE), (PROBLEM_2, TRACE_2)]):
        dataset.write_part(PROBLEMS, shard, [problem], "problems")
        dataset.write_part(TRACES, shard, [trace], "traces")
        write_method(dataset, shard, trace.trace_id)
        dataset.write_part(LABELS, shard, [replace(LABEL, trace_id=trace.trace_id)], "labels")
    found = replace(DISCOVERED, found_by="judge", trace_id="t3", parent_trace_id="t0")
    written = dataset.write_part(discovered("tree_search"), 0, [found], "f")
    rows = [replace(ANNOTATION, method="tree_search", trace_id=name) for name in ("t0", "t3")]
    dataset.write_part(annotations("tree_search"), 0, rows, "f", tables={"discovered": written})
    dataset.write_run_file('annotators = [{ use = "judge" }, { use = "tree_search" }]')
    return dataset


def findings(dataset: Dataset) -> Sequence[str]:
    lines = [str(finding) for finding in verify(dataset)]
    assert not any("\n" in line for line in lines)
    return lines


def test_consistent_dataset_has_no_findings(consistent: Dataset) -> None:
    assert findings(consistent) == []


def test_damaged_parts_are_found(consistent: Dataset) -> None:
    fs = consistent.folder.fs
    root = consistent.folder.root
    paths = ("critiques/judge/part-00001.parquet", "labels/part-00000.parquet")
    for path in paths:
        content = bytearray(fs.cat_file(f"{root}/{path}"))
        content[30] ^= 4
        fs.pipe_file(f"{root}/{path}", bytes(content))
    damaged = [finding for finding in verify(consistent) if finding.damaged_part is not None]
    assert sorted(map(str, damaged)) == [
        f"critiques/judge/part-00001.parquet: damaged; {FROM_STORE}",
        "labels/part-00000.parquet: damaged; delete it, and `stepmark run` makes it again",
    ]
    for finding in damaged:
        assert finding.damaged_part is not None
        consistent.remove_part(*finding.damaged_part)
    assert findings(consistent) == [
        "annotations/judge/part-00001.parquet: written with"
        f" critiques/judge/part-00001.parquet, which is missing; {FROM_STORE}"
    ]


def test_changed_sibling_is_found(consistent: Dataset) -> None:
    other = replace(ROLLOUT, text="other")
    consistent.write_part(rollouts("judge"), 0, [other], "f")
    assert findings(consistent) == [
        "annotations/judge/part-00000.parquet: written with other rows of"
        f" rollouts/judge/part-00000.parquet; {FROM_STORE}"
    ]


def test_unexpected_siblings_are_found(consistent: Dataset) -> None:
    found = replace(DISCOVERED, trace_id="t9")
    consistent.write_part(discovered("judge"), 0, [found], "f")
    consistent.write_part(critiques("lone"), 1, [replace(CRITIQUE, trace_id="t1")], "f")
    assert findings(consistent) == [
        "annotations/judge/part-00000.parquet: written without"
        f" discovered/judge/part-00000.parquet; {FROM_STORE}",
        "critiques/lone/part-00001.parquet: there is no annotations/lone/part-00001.parquet;"
        f" {FROM_STORE}",
    ]


def test_rows_of_unknown_traces_are_found(consistent: Dataset) -> None:
    consistent.write_part(LABELS, 0, [LABEL, replace(LABEL, trace_id="gone")], "labels")
    consistent.write_part(TRACES, 1, [TRACE_2, replace(TRACE, trace_id="t5")], "traces")
    consistent.write_part(LABELS, 1, [replace(LABEL, trace_id="t1")], "labels")
    assert findings(consistent) == [
        "labels/part-00000.parquet: 1 row of unknown traces; delete it, and `stepmark run` makes"
        " it again",
        f"traces/part-00001.parquet: 1 row of unknown problems; {FROM_STORE}",
        "labels/part-00001.parquet: 1 trace without a row; delete it, and `stepmark run` makes it"
        " again",
        f"annotations/judge/part-00001.parquet: 1 trace without a row; {FROM_STORE}",
    ]


def test_duplicate_ids_are_found(consistent: Dataset) -> None:
    again = replace(TRACE, problem_id="p1")
    consistent.write_part(TRACES, 1, [TRACE_2, again, again], "traces")
    lines = findings(consistent)
    assert f"traces/part-00001.parquet: 2 rows with the trace_id of another row; {FROM_STORE}" in (
        lines
    )


def test_unknown_files_are_found(on_disk: Dataset) -> None:
    for path in ("traces/part-1.parquet", "annotations/notes.txt", "labels/.part-00000.x.tmp"):
        Path(on_disk.uri, path).write_text("")
    Path(on_disk.uri, "rollouts/Not-a-method").mkdir()
    unknown = [line for line in findings(on_disk) if "move it elsewhere" in line]
    remedy = "no command reads it: move it elsewhere"
    assert unknown == [
        f"traces/part-1.parquet: not a part of the table; {remedy}",
        f"rollouts/Not-a-method: not the name of a method; {remedy}",
        f"annotations/notes.txt: not in the folder of a method; {remedy}",
    ]


def test_remedy_depends_on_origin(tmp_path: Path) -> None:
    """Without a run file the traces were imported."""
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "import")
    dataset.write_part(TRACES, 0, [TRACE, replace(TRACE, trace_id="t1")], "import")
    # An import can have labels of some traces only.
    dataset.write_part(annotations("human"), 0, [ANNOTATION], "import")
    dataset.write_part(annotations("other"), 0, [ANNOTATION], "import")
    assert findings(dataset) == []
    dataset.write_run_file("", labels_only=True)
    for path in ("traces/part-00000.parquet", "annotations/other/part-00000.parquet"):
        Path(dataset.uri, path).write_bytes(b"PAR1")
    assert findings(dataset) == [
        "traces/part-00000.parquet: damaged; delete it, and import again",
        "annotations/other/part-00000.parquet: damaged; delete it, and `stepmark label` makes it"
        " again",
    ]


def test_missing_dataset_cannot_be_verified(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        list(verify(dataset))


def test_earlier_methods_may_lack_traces(consistent: Dataset) -> None:
    consistent.write_run_file('annotators = [{ use = "formal", name = "tree_search" }]')
    consistent.write_part(TRACES, 1, [TRACE_2, replace(TRACE_2, trace_id="t5")], "traces")
    consistent.write_part(
        LABELS, 1, [replace(LABEL, trace_id=name) for name in ("t1", "t5")], "labels"
    )
    assert findings(consistent) == []
