"""Results of queries as files."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.queries.result_files import write_result
from storage.queries.sql import query
from storage.queries.vocabulary import read_vocabulary
from tests.columns import column

ROWS = [{"a": 1, "b": "ü\n", "a_1": [1.5, None]}, {"a": 2, "b": "=x", "a_1": []}]
TABLE = pa.Table.from_pylist(ROWS).rename_columns(["a", "b", "a"])


def test_files_contain_the_result(tmp_path: Path) -> None:
    for suffix in ("parquet", "json", "jsonl", "csv"):
        write_result(TABLE, str(tmp_path / "new" / f"x.{suffix}"))
    folder = tmp_path / "new"
    assert pq.read_table(folder / "x.parquet").to_pylist() == ROWS
    assert json.loads((folder / "x.json").read_text()) == ROWS
    assert list(map(json.loads, (folder / "x.jsonl").read_text().splitlines())) == ROWS
    with (folder / "x.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["a", "b", "a"],
            ["1", "ü\n", "[1.5, null]"],
            ["2", "'=x", "[]"],
        ]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("name", ["x", "x.txt", "parquet", "x.parquet/", ".parquet"])
def test_unknown_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write a file with one of: \.parquet, \.csv"):
        write_result(TABLE, f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


def test_bucket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'s3://x\.csv' is a bucket: name a file in it"):
        write_result(TABLE, "s3://x.csv")
    assert list(tmp_path.iterdir()) == []
    write_result(TABLE, "memory://results/x.json")
    with Folder("memory://results").reading("x.json") as file:
        assert json.load(file) == ROWS


def test_failed_result_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    # Python has no date after the year 9999.
    beyond = pa.table({"t": pa.array([2**60], pa.timestamp("us"))})
    with pytest.raises(ConfigError, match="cannot be shown"):
        write_result(beyond, str(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_file_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"cannot write /proc/x\.csv"):
        write_result(TABLE, "/proc/x.csv")


def test_relative_names_are_below_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_result(TABLE, "x.csv")
    assert column(tmp_path.iterdir(), "name") == ["x.csv"]


def test_vocabulary_has_columns_of_methods(filled: Dataset) -> None:
    vocabulary = read_vocabulary(filled)
    assert list(vocabulary.views["steps"]) == query(filled, "FROM steps").column_names
    assert vocabulary.views["verdicts"]["judge_verdicts"] == "VARCHAR[]"
    assert "threshold" in vocabulary.macros["rpe"]
    assert "SELECT" in vocabulary.keywords
    assert "bar" in vocabulary.functions
