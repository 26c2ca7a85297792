"""The values that a formula of `storage/values` assigns to the steps of every trace."""

from collections.abc import Mapping, Sequence

from storage.dataset.dataset import Dataset
from storage.queries import sql
from storage.values.base import StepValues, call, missing_macro

__all__ = ["values_by_trace"]


def values_by_trace(dataset: Dataset, values: StepValues) -> Mapping[str, Sequence[float | None]]:
    """Return one value per step by trace id; None where the value is unknown.

    The values of the whole dataset are held in memory, one number per step.
    """
    with sql.connect(dataset) as connection:
        macro = missing_macro(values)
        if macro:
            connection.execute(macro)
        result = connection.sql(
            "SELECT trace_id, list(derived.value ORDER BY step_index)"
            " FROM (SELECT trace_id, step_index FROM steps)"
            f" LEFT JOIN {call(values)} AS derived USING (trace_id, step_index)"
            " GROUP BY trace_id"
        )
        return dict(result.fetchall())
