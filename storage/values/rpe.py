"""Relative progress: the ratio of the values after and before a step."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["Rpe"]


@dataclass(frozen=True, kw_only=True)
class Rpe:
    """P = MC(s_t+1) / MC(s_t), with the label 1 if P >= `threshold`, else 0.

    The formulas are equations 10 and 11 of GenPRM (Zhao et al. 2025, arXiv 2504.00891). MC of the
    question is the share of correct traces of the problem. As in the paper, P is 0 from the first
    step with MC = 0 on. A value above 1 means that the step made a correct answer more likely.
    """

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The smallest P of a step with the label 1."""
    source: str = "monte_carlo"
    """The method whose estimates are read."""

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("label",)
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, ratio AS value, (ratio >= threshold)::INTEGER AS label
        FROM (
          SELECT trace_id, step_index, CASE
            WHEN min(estimates.value) OVER (PARTITION BY trace_id ORDER BY step_index) = 0 THEN 0
            WHEN step_index = 0 THEN estimates.value / nullif(pass_rate, 0)
            ELSE estimates.value / before
          END AS ratio
          FROM estimates WHERE method = source
        )
    """
