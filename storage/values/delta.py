"""Differences of neighbouring values: what a step has over the step after it."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Delta"]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """r_t = v_t - v_t+1, and r_T = v_T for the last step.

    Similar to Delta of Gao et al. (2024, arXiv 2410.15115), which treats the last step of a
    solution separately. The sum from a step to the last one is the value of that step. A value is
    unknown if either of the two is.
    """

    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    # Without a next row the default of `lead` is 0; an unknown next value stays NULL.
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, estimates.value
          - lead(estimates.value, 1, 0) OVER (PARTITION BY trace_id ORDER BY step_index) AS value
        FROM estimates WHERE method = source
    """
