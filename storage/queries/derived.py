"""The values that a formula of `storage/values` gives to the steps of every trace."""

from collections.abc import Mapping, Sequence

from storage.dataset.dataset import Dataset
from storage.queries import sql
from storage.values.base import StepValues, call

__all__ = ["derived"]


def derived(dataset: Dataset, values: StepValues) -> Mapping[str, Sequence[float | None]]:
    """One value per step of each trace, None where it is unknown. All of a dataset's are held in memory, a number a step."""
    with sql.connect(dataset) as connection:
        found = connection.sql(
            f"SELECT trace_id, list(derived.value ORDER BY step_index) FROM (SELECT trace_id, step_index FROM steps)"
            f" LEFT JOIN {call(values)} AS derived USING (trace_id, step_index) GROUP BY trace_id"
        )
        return dict(found.fetchall())
