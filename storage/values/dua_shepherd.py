"""Correctness and potential: is a step correct, and can a correct answer still be reached."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["DuaShepherd"]


@dataclass(frozen=True, kw_only=True)
class DuaShepherd:
    """Correctness, potential and their product, the compound probability.

    Correctness is the verdict of a method that reads the step (`judge`, `formal`, or `the labels`
    of the run), as 1 or 0. Potential is the share of correct rollouts. The product is defined if
    both are known, and is 0 if either is 0.

    Similar to DuaShepherd (Wu et al. 2025, arXiv 2506.17533), which labels steps by two reward
    models, trained on PRM800K and on Math-Shepherd, and multiplies the predictions of two heads.
    """

    correctness_by: str = "judge"
    """The method whose verdicts are the correctness; `the labels` for the labels of the run."""
    potential_by: str = "monte_carlo"
    """The method whose values are the potential."""

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("correctness", "potential")
    # FULL JOIN, because one of the two methods can lack a trace.
    sql: ClassVar[str] = """
        SELECT trace_id, step_index,
          CASE WHEN correctness = 0 OR potential = 0 THEN 0
            ELSE correctness * potential END AS value,
          correctness, potential
        FROM (
          SELECT trace_id, step_index,
            CASE verdict WHEN 'correct' THEN 1.0 WHEN 'incorrect' THEN 0.0 END::DOUBLE
              AS correctness
          FROM estimates WHERE method = correctness_by
        ) FULL JOIN (
          SELECT trace_id, step_index, estimates.value AS potential
          FROM estimates WHERE method = potential_by
        ) USING (trace_id, step_index)
    """
