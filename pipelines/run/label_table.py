"""The labels of a dataset, counted: where first errors are, and why traces are not kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.dataset.dataset import Dataset
from storage.queries.render import values
from storage.queries.sql import query_session
from storage.queries.views import kinds_read

__all__ = ["label_table"]

# Steps are counted from 1, as people count them. The reason of a filter starts with its name; the
# other reasons are texts with numbers, which would be a row each.
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
# More rows would not be read: traces can have hundreds of steps.
MAX_ROWS = 100


def label_table(dataset: Dataset) -> Sequence[Mapping[str, Any]]:
    """Return a row for each label, with the number of its traces; none without labels."""
    with query_session(dataset, kinds=kinds_read(COUNTS)) as ask:
        table = ask(f"FROM ({COUNTS}) LIMIT {MAX_ROWS}")
        names = table.column_names
        return [dict(zip(names, row, strict=True)) for row in values(table)]
