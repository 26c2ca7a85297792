"""Parts are complete or absent, and a table never mixes rows of two part keys."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepmark.errors import ConfigError, DatasetError, InstallError
from stepmark.records import Problem, Trace
from storage.dataset import dataset as dataset_module
from storage.dataset import parts
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    REJECTED,
    TRACES,
    annotations,
    critiques,
    rollouts,
)
from tests.columns import column
from tests.storage.samples import ANNOTATION, PROBLEM, TRACE, fill

KILLED_WRITER = """
import sys, time
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS
from tests.storage.samples import PROBLEM

def records():
    for _ in range(1000):
        yield PROBLEM
    print("writing", flush=True)
    time.sleep(60)

Dataset(sys.argv[1]).write_part(PROBLEMS, 0, records(), "new")
"""


def part_file(dataset: Dataset, name: str) -> Path:
    return Path(dataset.uri, name)


def all_files(dataset: Dataset) -> list[Path]:
    """Return the sorted paths of all files of a local dataset."""
    return sorted(path for path in Path(dataset.uri).rglob("*") if path.is_file())


def test_footer_of_unchanged_file_is_kept(
    on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = part_file(on_disk, "traces/part-00000.parquet")
    os.utime(path, (1, 1))
    footer = on_disk.footer(TRACES, 0)
    with monkeypatch.context() as patch:
        patch.setattr(dataset_module, "read_footer", lambda *_: pytest.fail("read again"))
        assert on_disk.footer(TRACES, 0) == footer
    on_disk.write_part(TRACES, 0, [TRACE], "g")
    assert on_disk.has_part(TRACES, 0, "g")
    path.write_bytes(path.read_bytes()[:-1])
    assert on_disk.footer(TRACES, 0) is None


def test_part_is_identified_by_key(dataset: Dataset) -> None:
    assert not dataset.has_part(PROBLEMS, 0, "f")
    footer = dataset.write_part(PROBLEMS, 0, [PROBLEM] * 3, "f")
    assert dataset.has_part(PROBLEMS, 0, "f")
    assert not dataset.has_part(PROBLEMS, 0, "g")
    assert not dataset.has_part(PROBLEMS, 1, "f")
    assert not dataset.has_part(TRACES, 0, "f")
    assert dataset.footer(PROBLEMS, 0) == footer
    assert footer == parts.Footer(
        part_key="f", rows=3, version=parts.stepmark_version(), content=footer.content, format=2
    )


def test_part_may_be_empty(dataset: Dataset) -> None:
    dataset.write_part(LABELS, 4, [], "f")
    assert dataset.has_part(LABELS, 4, "f")
    assert dataset.shards(LABELS) == (4,)
    assert dataset.count(LABELS) == 0
    assert list(dataset.read(LABELS)) == []


def test_write_part_replaces_part(dataset: Dataset) -> None:
    dataset.write_part(PROBLEMS, 0, [PROBLEM] * 3, "f")
    other = replace(PROBLEM, problem_id="p1")
    dataset.write_part(PROBLEMS, 0, [other], "g")
    assert list(dataset.read(PROBLEMS)) == [other]
    assert dataset.has_part(PROBLEMS, 0, "g")


def test_shards_are_read_in_order(dataset: Dataset) -> None:
    # Written out of order. The last number has more digits than file names are padded to.
    for shard in (100_000, 2, 10):
        dataset.write_part(PROBLEMS, shard, [replace(PROBLEM, problem_id=str(shard))], "f")
    assert dataset.shards(PROBLEMS) == (2, 10, 100_000)
    assert column(dataset.read(PROBLEMS), "problem_id") == ["2", "10", "100000"]


def test_keep_removes_stale_parts(dataset: Dataset) -> None:
    for shard, part_key in enumerate(["new", "old", "new", "new"]):
        dataset.write_part(TRACES, shard, [TRACE], part_key)
    dataset.write_part(PROBLEMS, 1, [PROBLEM], "old")
    assert dataset.keep(TRACES, {0: "new", 1: "new", 2: "new", 7: "new"}) == {0, 2}
    assert dataset.shards(TRACES) == (0, 2)
    assert dataset.shards(PROBLEMS) == (1,)
    assert dataset.keep(TRACES, {}) == frozenset()
    assert dataset.shards(TRACES) == ()


def test_failed_write_changes_nothing(dataset: Dataset) -> None:
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "old")

    def records() -> Iterator[Problem]:
        yield PROBLEM
        raise RuntimeError("the engine is down")

    for shard in (0, 1):
        with pytest.raises(RuntimeError, match="the engine is down"):
            dataset.write_part(PROBLEMS, shard, records(), "new")
    assert dataset.shards(PROBLEMS) == (0,)
    assert dataset.has_part(PROBLEMS, 0, "old")
    assert dataset.folder.files("problems") == ["part-00000.parquet"]


def test_killed_writer_leaves_no_part(on_disk: Dataset) -> None:
    command = [sys.executable, "-c", KILLED_WRITER, on_disk.uri]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
    # The draft and the old part.
    assert len(on_disk.folder.files("problems")) == 2
    assert on_disk.shards(PROBLEMS) == (0,)
    assert on_disk.has_part(PROBLEMS, 0, "f")
    on_disk.sweep()
    assert on_disk.folder.files("problems") == ["part-00000.parquet"]


def test_sweep_removes_only_drafts(on_disk: Dataset) -> None:
    before = all_files(on_disk)
    for folder in ("", "traces/", "annotations/judge/"):
        part_file(on_disk, f"{folder}.part-00000.parquet.0123.tmp").write_bytes(b"PAR1 half")
    on_disk.sweep()
    assert all_files(on_disk) == before


# Empty, within the first mark, within the first bytes, within the data, and without the last byte.
@pytest.mark.parametrize("kept_bytes", [0, 3, 11, 200, -1])
def test_truncated_file_is_not_a_part(on_disk: Dataset, kept_bytes: int) -> None:
    path = part_file(on_disk, "traces/part-00000.parquet")
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert not on_disk.has_part(TRACES, 0, "f")
    with pytest.raises(DatasetError, match=r"traces/part-00000\.parquet"):
        list(on_disk.read_part(TRACES, 0))
    assert on_disk.keep(TRACES, {0: "f"}) == frozenset()
    assert not path.exists()


# The footer length is arbitrary text, larger than the file, or that of other bytes.
@pytest.mark.parametrize("end", [b"PAR1", b"\xff\xff\xff\x7fPAR1", b"\x40\x00\x00\x00PAR1"])
def test_corrupt_footer_is_not_a_part(on_disk: Dataset, end: bytes) -> None:
    part_file(on_disk, "traces/part-00000.parquet").write_bytes(b"PAR1" + b"x" * 200 + end)
    assert on_disk.footer(TRACES, 0) is None


def test_foreign_parquet_is_not_a_part(on_disk: Dataset) -> None:
    path = part_file(on_disk, "problems/part-00000.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert on_disk.footer(PROBLEMS, 0) is None


def test_other_schema_is_not_a_part(on_disk: Dataset) -> None:
    path = part_file(on_disk, "rejected/part-00000.parquet")
    table = pq.read_table(path)
    pq.write_table(table.append_column("later", pa.array([1])), path)
    assert on_disk.footer(REJECTED, 0) is None


def test_other_files_are_not_removed(on_disk: Dataset) -> None:
    for name in (
        "notes.txt",
        "part-1.parquet",
        "part-00001.parquet.bak",
        ".part-00001.parquet.crc",
    ):
        part_file(on_disk, f"traces/{name}").write_text("mine")
    assert on_disk.shards(TRACES) == (0,)
    on_disk.keep(TRACES, {})
    on_disk.sweep()
    assert len(on_disk.folder.files("traces")) == 4


def test_methods_have_parts(filled: Dataset) -> None:
    assert filled.methods("annotations") == ("formal", "judge")
    assert filled.methods("rollouts") == filled.methods("critiques") == ("judge",)
    filled.keep(annotations("formal"), {})
    assert filled.methods("annotations") == ("judge",)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "A", "1a", "a-b", "a b", "a" * 64, "a\n", "é", ".", "a\0"]
)
def test_method_must_be_plain_name(name: str) -> None:
    for make in (annotations, critiques, rollouts):
        with pytest.raises(ConfigError, match="cannot name a method"):
            make(name)


def test_invalid_folder_names_are_ignored(on_disk: Dataset) -> None:
    Path(on_disk.uri, "annotations/judge").rename(Path(on_disk.uri, "annotations/Judge-2"))
    assert on_disk.methods("annotations") == ("formal",)


def test_missing_dataset_does_not_exist(dataset: Dataset) -> None:
    assert not dataset.exists()
    with pytest.raises(
        DatasetError, match=r"no dataset at .*; `stepmark run` or `stepmark import` makes one"
    ):
        dataset.require()
    dataset.check_writable()
    assert not dataset.exists()
    dataset.write_part(rollouts("judge"), 0, [], "f")
    assert dataset.exists()
    dataset.require()


def test_run_file_makes_dataset_exist(dataset: Dataset) -> None:
    assert dataset.read_run_files() == []
    dataset.write_run_file("é = 1\r\n")
    assert dataset.exists()
    assert dataset.read_run_files() == ["é = 1\r\n"]


def test_writer_lock_is_exclusive(tmp_path: Path) -> None:
    first = Dataset(str(tmp_path / "d"))
    second = Dataset(str(tmp_path / "d"))
    with (
        first.writer_lock(),
        pytest.raises(DatasetError, match="another run is writing here"),
        second.writer_lock(),
    ):
        pass
    with second.writer_lock():
        pass


def test_next_run_removes_label_file(dataset: Dataset) -> None:
    dataset.write_run_file("run")
    dataset.write_run_file("label", labels_only=True)
    assert dataset.read_run_files() == ["run", "label"]
    dataset.write_run_file("again")
    assert dataset.read_run_files() == ["again"]


def test_unwritable_location_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DatasetError, match=r"^cannot write .*file/set/\.writable: Not a directory$"
    ):
        Dataset(str(tmp_path / "file" / "set")).check_writable()


def test_check_writable_leaves_no_file(dataset: Dataset) -> None:
    dataset.check_writable()
    assert dataset.folder.files() == []


def test_missing_part_error_is_one_line(filled: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"cannot read .*traces/part-00009\.parquet"):
        next(filled.read_part(TRACES, 9))


@pytest.mark.parametrize("uri", ["", "a::b", "simplecache::s3://x", "nonsense://x", "a\0b"])
def test_invalid_uri_is_rejected(uri: str) -> None:
    with pytest.raises(ConfigError, match="is not a location for a dataset"):
        Dataset(uri).exists()


def test_missing_filesystem_package_is_named() -> None:
    with pytest.raises(InstallError, match="oci:// needs a package that is not installed"):
        Dataset("oci://bucket/x").exists()


def test_rows_are_written_in_groups(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr(parts, "BATCH_ROWS", 64)
    traces = [replace(TRACE, trace_id=str(index)) for index in range(500)]
    dataset.write_part(TRACES, 0, traces, "f")
    with dataset.folder.reading("traces/part-00000.parquet") as file:
        assert pq.read_metadata(file).num_row_groups == 8
    assert list(dataset.read(TRACES)) == traces


def test_reading_is_lazy(filled: Dataset) -> None:
    records: Iterator[Trace] = filled.read(TRACES)
    assert next(records) == TRACE


def test_methods_have_separate_annotations(dataset: Dataset) -> None:
    dataset.write_part(annotations("judge"), 0, [ANNOTATION], "f")
    dataset.write_part(annotations("formal"), 0, [], "g")
    dataset.keep(annotations("formal"), {})
    assert list(dataset.read(annotations("judge"))) == [ANNOTATION]


def test_file_uri_equals_path(tmp_path: Path) -> None:
    fill(Dataset(str(tmp_path / "x y")))
    assert list(Dataset(f"file://{tmp_path}/x y").read(TRACES)) == list(
        Dataset(str(tmp_path / "x y")).read(TRACES)
    )


def test_column_is_read_in_every_location(filled: Dataset) -> None:
    assert filled.column(TRACES, 0, "trace_id") == column(filled.read(TRACES), "trace_id")
