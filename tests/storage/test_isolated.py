"""Isolated queries: results, errors that name the reason, and limits."""

import pytest

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.queries.isolated import column_of_query
from tests.storage.isolation import answer_in_this_process


def ids_of(dataset: Dataset, sql: str, timeout_s: float = 30.0) -> list[str]:
    column = column_of_query(
        dataset, sql, "trace_id", timeout_s=timeout_s, memory_mib=256, max_rows=2
    )
    ids: list[str] = column.to_pylist()
    return ids


def test_column_is_returned(on_disk: Dataset) -> None:
    sql = "SELECT trace_id, outcome FROM traces ORDER BY trace_id"
    assert ids_of(on_disk, sql) == ["t0", "t1"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT outcome FROM traces", "must return one column trace_id"),
        ("SELECT trace_id, trace_id FROM traces", "must return one column trace_id"),
        ("SELECT [1] AS trace_id", "does not contain texts"),
        ("SELECT nothing FROM traces", "the query failed"),
        ("DELETE FROM traces", "one SELECT"),
        ("SELECT trace_id FROM read_csv('/etc/passwd')", "the query failed"),
        ("SELECT repeat('x', 70_000_000) AS trace_id", "more than 64 MiB"),
        ("x" * 300_000, "characters"),
    ],
)
def test_errors_say_what_is_wrong(
    sql: str, message: str, on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_in_this_process(monkeypatch)
    with pytest.raises(ConfigError, match=message):
        ids_of(on_disk, sql)


def test_missing_dataset_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_in_this_process(monkeypatch)
    with pytest.raises(DatasetError, match="no dataset at /nowhere"):
        ids_of(Dataset("/nowhere"), "SELECT 1")


def test_query_that_ignores_interrupts_is_ended(on_disk: Dataset) -> None:
    text = "SELECT regexp_replace(repeat('a', 5_000_000), 'a', 'bb', 'g') AS trace_id"
    with pytest.raises(ConfigError, match="the query failed"):
        ids_of(on_disk, text, timeout_s=0.1)
