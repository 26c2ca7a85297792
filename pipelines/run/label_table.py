"""The labels of a dataset, counted: where first errors are, and why traces are not kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.dataset.dataset import Dataset
from storage.queries.render import values
from storage.queries.sql import query_session
from storage.queries.views import kinds_read

__all__ = ["label_table"]

# Steps are counted from 1, as on the pages. Reasons are not grouped: many contain numbers, so that
# almost every trace would be a row.
COUNTS = """
SELECT kept,
       CASE WHEN first_error IS NULL THEN 'undecided'
            WHEN first_error < 0 THEN 'no error'
            ELSE 'first error in step ' || (first_error + 1) END AS label,
       count(*) AS traces,
       round(avg(confidence), 3) AS mean_confidence,
       any_value(reason) AS example_reason
FROM labels GROUP BY kept, first_error ORDER BY kept DESC, first_error
"""
# The table is read by people. Traces can have hundreds of steps, each of which may be a row.
MAX_ROWS = 100


def label_table(dataset: Dataset) -> Sequence[Mapping[str, Any]]:
    """Return a row for each first error, of kept and of dropped traces, with their number.

    The columns are those of `COUNTS`. A dataset without labels has no rows.

    Raises:
        DatasetError: The dataset is missing, or a part of its labels is damaged.
    """
    with query_session(dataset, kinds=kinds_read(COUNTS)) as ask:
        table = ask(f"FROM ({COUNTS}) LIMIT {MAX_ROWS}")
        names = table.column_names
        return [dict(zip(names, row, strict=True)) for row in values(table)]
