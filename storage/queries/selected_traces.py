"""Traces that a query selects, for commands that read a part of a dataset."""

import pyarrow as pa

from stepmark.errors import ConfigError

__all__ = ["EXAMPLE", "trace_ids_of"]

EXAMPLE = "SELECT trace_id FROM labels WHERE confidence > 0.9"
"""A query that selects traces, for messages."""
COLUMN = "trace_id"


def trace_ids_of(answer: pa.Table) -> frozenset[str]:
    """Return the trace ids in the result of a query.

    Raises:
        ConfigError: The result does not have one column `trace_id`, of texts.
    """
    if answer.column_names.count(COLUMN) != 1 or answer[COLUMN].type != pa.string():
        raise ConfigError(
            f"the query has no column {COLUMN} with the ids of the traces: write it as {EXAMPLE}"
        )
    return frozenset(answer[COLUMN].drop_null().to_pylist())
