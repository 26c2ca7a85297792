"""Datasets of earlier versions are read, and those of newer ones are refused."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepmark.errors import DatasetError
from storage.dataset import migrations, parts
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import LABELS, PROBLEMS, REJECTED, TRACES, Table, rollouts
from storage.dataset.verify import verify
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.queries.sql import connect, query
from tests.columns import column
from tests.storage.samples import LABEL, PROBLEM, REJECTED_ROW, ROLLOUT, TRACE

OLD_DATASET = Path(__file__).parents[1] / "pipelines/data/dataset_26a14a6/dataset"
VIEWS = (
    "problems",
    "rejected",
    "traces",
    "rollouts",
    "critiques",
    "annotations",
    "labels",
    "classes",
    "steps",
    "estimates",
    "step_values",
)


def write_old_part(dataset: Dataset, path: str, table: pa.Table) -> None:
    """Write a part as format 1 has it."""
    target = Path(dataset.uri, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"stepmark.fingerprint": "f", "stepmark.version": "0.1.0"}
    pq.write_table(table.replace_schema_metadata(metadata), target)


def change_metadata(path: Path, changes: Mapping[str, str]) -> None:
    """Write a part with a valid seal and other metadata, as a later version could."""
    table = pq.read_table(path)
    metadata = {"stepmark.seal": "0" * 40, **changes}
    for key, value in pq.read_metadata(path).metadata.items():
        if key.startswith(b"stepmark."):
            metadata.setdefault(key.decode(), value.decode())
    with path.open("w+b") as file:
        with pq.ParquetWriter(file, table.schema.remove_metadata()) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(metadata)
        parts._write_seal(file)


def old_copy(tmp_path: Path) -> Dataset:
    shutil.copytree(OLD_DATASET, tmp_path / "old")
    return Dataset(str(tmp_path / "old"))


def test_old_tables_are_read(tmp_path: Path) -> None:
    dataset = Dataset(str(OLD_DATASET))
    rows = {table.folder: len(list(dataset.read(table))) for table in dataset.tables()}
    assert (rows["problems"], rows["traces"], rows["discovered/tree_search"]) == (5, 15, 2)
    assert (rows["rollouts/monte_carlo"], rows["critiques/judge"], rows["labels"]) == (96, 30, 17)
    for table in dataset.tables():
        for shard in dataset.shards(table):
            footer = dataset.footer(table, shard)
            assert footer is not None
            assert (footer.format, footer.content) == (1, footer.part_key)
    assert list(verify(dataset)) == []
    assert export(dataset, Trl(), str(tmp_path / "out")).rows > 0


@pytest.mark.parametrize("view", VIEWS)
def test_old_views_have_current_columns(tmp_path: Path, view: str) -> None:
    dataset = Dataset(str(tmp_path / "new"))
    dataset.write_run_file("")
    old = query(Dataset(str(OLD_DATASET)), f"SELECT COLUMNS('^[^_]*$') FROM {view} LIMIT 0")
    new = query(dataset, f"SELECT COLUMNS('^[^_]*$') FROM {view} LIMIT 0")
    # Columns with the name of a method contain an underscore.
    assert old.schema == new.schema
    assert query(Dataset(str(OLD_DATASET)), f"FROM {view}").num_rows >= 0


def test_old_and_new_metadata_are_maps(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "mixed"))
    old_type = pa.map_(pa.string(), pa.string())
    tables: list[Table[Any]] = [PROBLEMS, TRACES]
    for table in tables:
        dataset.write_part(table, 1, [PROBLEM if table is PROBLEMS else TRACE], "f")
        columns = pq.read_table(Path(dataset.uri, dataset.path(table, 1)))
        old_metadata = pa.array([[("k", "old")]], old_type)
        old = columns.set_column(
            columns.schema.get_field_index("metadata"), "metadata", old_metadata
        )
        write_old_part(dataset, dataset.path(table, 0), old)
        rows = query(dataset, f"SELECT metadata, metadata['k'] AS k FROM {table.kind} ORDER BY k")
        values = rows.to_pylist(maps_as_pydicts="lossy")
        assert {"metadata": {"k": "old"}, "k": "old"} in values
        new = PROBLEM.metadata if table is PROBLEMS else TRACE.metadata
        assert {"metadata": dict(new), "k": new.get("k")} in values
        assert column(dataset.read(table), "metadata") == [{"k": "old"}, new]


def test_hugging_face_datasets_reads_parts(on_disk: Dataset, tmp_path: Path) -> None:
    for kind in ("problems", "traces"):
        path = str(Path(on_disk.uri, kind, "part-00000.parquet"))
        rows = datasets.load_dataset(
            "parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache")
        )
        assert rows[0]["metadata"][0]["key"] in ("steps", "k")


def test_added_column_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(rollouts("judge"), 0, [ROLLOUT], "f")
    current = pq.read_table(Path(dataset.uri, dataset.path(rollouts("judge"), 0)))
    dataset.write_part(rollouts("judge"), 1, [ROLLOUT], "f")
    write_old_part(
        dataset, dataset.path(rollouts("judge"), 0), current.drop_columns(["outcome_reason"])
    )
    assert dataset.footer(rollouts("judge"), 0) is None
    monkeypatch.setattr(migrations, "ADDED", {"rollouts": frozenset({"outcome_reason"})})
    assert dataset.footer(rollouts("judge"), 0) is not None
    rows = query(dataset, "SELECT method, outcome_reason, seed FROM rollouts ORDER BY 2")
    assert rows.to_pylist() == [
        {"method": "judge", "outcome_reason": "cut", "seed": ROLLOUT.seed},
        {"method": "judge", "outcome_reason": None, "seed": ROLLOUT.seed},
    ]
    assert query(dataset, "FROM rollouts").column_names == SCHEMAS["rollouts"].names


def test_added_column_has_record_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(TRACES, 0, [TRACE], "f")
    table = pq.read_table(Path(dataset.uri, dataset.path(TRACES, 0)))
    lacking = table.drop_columns(["finish_reason", "final_answer", "sampling"])
    write_old_part(dataset, dataset.path(TRACES, 0), lacking)
    monkeypatch.setattr(migrations, "ADDED", {"traces": frozenset({"finish_reason"})})
    trace = next(dataset.read(TRACES))
    # The default of the record, and NULL for columns that may be NULL.
    assert (trace.finish_reason, trace.final_answer, trace.sampling) == ("stop", None, None)


def test_renamed_column_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(REJECTED, 0, [REJECTED_ROW], "f")
    table = pq.read_table(Path(dataset.uri, dataset.path(REJECTED, 0)))
    write_old_part(
        dataset, dataset.path(REJECTED, 0), table.rename_columns(["path", "row", "field", "reason"])
    )
    assert dataset.footer(REJECTED, 0) is None
    monkeypatch.setattr(migrations, "RENAMED", {"rejected": {"file": "path"}})
    assert list(dataset.read(REJECTED)) == [REJECTED_ROW]
    assert query(dataset, "SELECT file FROM rejected").to_pylist() == [{"file": "a.jsonl"}]


def test_unknown_columns_are_ignored(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(LABELS, 0, [LABEL], "f")
    table = pq.read_table(Path(dataset.uri, dataset.path(LABELS, 0)))
    write_old_part(dataset, dataset.path(LABELS, 0), table.append_column("later", pa.array([1])))
    assert list(dataset.read(LABELS)) == [LABEL]
    assert query(dataset, "FROM labels").column_names == SCHEMAS["labels"].names


def test_newer_part_is_refused(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "d"))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, [TRACE], "f")
    path = Path(dataset.uri, dataset.path(TRACES, 0))
    change_metadata(path, {"stepmark.format": "3", "stepmark.version": "9.1"})
    content = path.read_bytes()
    message = (
        r"traces/part-00000\.parquet was written by a newer Stepmark \(version 9\.1\): install it"
        " to read this dataset$"
    )
    commands: list[Any] = [
        lambda: dataset.footer(TRACES, 0),
        lambda: dataset.has_part(TRACES, 0, "f"),
        lambda: dataset.keep(TRACES, {}) if not dataset.stale_shards(TRACES, {0: "g"}) else None,
        lambda: dataset.count(TRACES),
        lambda: list(dataset.read(TRACES)),
        lambda: connect(dataset),
        lambda: query(dataset, "SELECT count(*) FROM traces"),
        lambda: export(dataset, Trl(), str(tmp_path / "out")),
        lambda: list(verify(dataset)),
    ]
    for command in commands:
        with pytest.raises(DatasetError, match=message):
            command()
    assert path.read_bytes() == content
