"""The views that `stepmark sql --ddl` prints, in a DuckDB that shares nothing with ours."""

from collections import Counter
from dataclasses import replace
from typing import Any

import duckdb
import fsspec

from storage.dataset.dataset import Dataset
from storage.dataset.tables import annotations, discovered
from storage.queries.ddl import ddl
from storage.queries.render import values
from storage.queries.sql import query_session
from tests.storage.samples import ANNOTATION, DISCOVERED

MACRO_CALLS = ("rpe(threshold := 0.5)", "trace_scores(source := 'judge')")


def plain_duckdb(dataset: Dataset) -> duckdb.DuckDBPyConnection:
    """Open a new database, which reads buckets through fsspec instead of an extension."""
    connection = duckdb.connect()
    if not dataset.folder.is_local:
        connection.register_filesystem(fsspec.filesystem("memory"))
    return connection


def counted(rows: Any) -> Counter[str]:
    return Counter(map(repr, rows))


def test_plain_duckdb_has_the_same_rows(filled: Dataset) -> None:
    filled.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    found = replace(ANNOTATION, trace_id="t3", method="tree_search", error=None)
    filled.write_part(annotations("tree_search"), 0, [found], "f")
    statements = ddl(filled)
    with plain_duckdb(filled) as plain, query_session(filled) as run_query:
        # Executed twice, because a database file keeps the views of an earlier time.
        plain.execute(statements)
        plain.execute(statements)
        views = [name for (name,) in values(run_query("SHOW TABLES"))]
        assert "verdicts" in views
        for source in (*views, *MACRO_CALLS):
            ours = run_query(f"FROM {source}")
            theirs = plain.sql(f"FROM {source}")
            assert theirs.columns == ours.column_names
            assert counted(values(theirs.to_arrow_table())) == counted(values(ours)), source


def test_bucket_is_read_by_its_uri() -> None:
    dataset = Dataset("memory://ddl/data set")
    dataset.write_run_file("")
    dataset.write_part(annotations("judge"), 0, [ANNOTATION], "f")
    assert "memory://" in ddl(dataset)
    assert "'dataset:/" not in ddl(dataset)
