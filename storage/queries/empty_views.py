"""The empty views, as SQL text: one for each kind of table, with its columns and no rows."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from storage.dataset.schemas import ENTRIES, SCHEMAS
from storage.queries.sources import EMPTY

__all__ = ["empty_view_statements"]


def empty_view_statements(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield the statements that create the schema of the empty views, and these views.

    `connection` converts the types of Arrow to those of SQL.
    """
    yield f"CREATE SCHEMA IF NOT EXISTS {EMPTY}"
    for kind, schema in SCHEMAS.items():
        # A stream instead of a table: for a table DuckDB imports pandas to check its type, which
        # takes longer than everything else here.
        typed = connection.from_arrow(pa.RecordBatchReader.from_batches(_with_maps(schema), []))
        columns = ", ".join(
            f'NULL::{dtype} AS "{name}"'
            for name, dtype in zip(typed.columns, typed.types, strict=True)
        )
        # A view instead of a table: a SELECT can contain a DELETE or an INSERT in its WITH.
        yield f"CREATE OR REPLACE VIEW {EMPTY}.{kind} AS SELECT {columns} WHERE false"


def _with_maps(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the types that the views have: `ENTRIES` is a map in SQL."""
    for index, field in enumerate(schema):
        if field.type == ENTRIES:
            schema = schema.set(index, field.with_type(pa.map_(pa.string(), pa.string())))
    return schema
