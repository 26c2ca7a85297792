"""Traces that a query selects, for commands that read a part of a dataset."""

import pyarrow as pa

from stepmark.errors import ConfigError

__all__ = ["trace_ids_of"]

COLUMN = "trace_id"


def trace_ids_of(answer: pa.Table) -> frozenset[str]:
    """Return the trace ids in the result of a query.

    Raises:
        ConfigError: The result does not have one column `trace_id`, of texts.
    """
    if answer.column_names.count(COLUMN) != 1 or answer[COLUMN].type != pa.string():
        raise ConfigError(
            "--where is a query for the ids of the traces, with a column trace_id:"
            " SELECT trace_id FROM labels WHERE confidence > 0.9"
        )
    return frozenset(answer[COLUMN].drop_null().to_pylist())
