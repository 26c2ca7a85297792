"""Temporal differences in the tree of a problem's solutions: how a step changes the outcome."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Td"]


@dataclass(frozen=True, kw_only=True)
class Td:
    """V(prefix with the step) - V(prefix before it), where V is the formula `prefix_tree`.

    Column `advantage`: (r - mean + value) / (sd + 1e-6), where r is the outcome of the trace, 1 or
    0, and mean and standard deviation are those of the problem's sampled traces. It is unknown for
    fewer than two decided traces.

    Similar to TEMPO (Tran et al. 2025, arXiv 2509.18314), which computes both for every token and
    from the sampled solutions alone; here the tree contains the rollouts as well.
    """

    but: tuple[str, ...] = ("prover",)

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("advantage",)
    # 1e-6 is the constant of TEMPO's code.
    sql: ClassVar[str] = """
        WITH root AS (
          SELECT problem_id, avg((outcome = 'correct')::INTEGER) AS root_value
          FROM solutions
          WHERE given_steps = 0 AND outcome <> 'unknown'
            AND (method IS NULL OR NOT list_contains(but, method))
          GROUP BY problem_id
        ), traces_of_problem AS (
          SELECT problem_id, avg(reward) AS mean, stddev_samp(reward) AS sd
          FROM (
            SELECT problem_id, (outcome = 'correct')::INTEGER AS reward
            FROM traces WHERE outcome <> 'unknown' AND found_by IS NULL
          ) GROUP BY problem_id
        ), changes AS (
          SELECT trace_id, problem_id, outcome, step_index, tree.value - coalesce(
              lag(tree.value) OVER (PARTITION BY trace_id ORDER BY step_index), root_value
            ) AS change
          FROM prefix_tree(but := but) AS tree
            JOIN (SELECT trace_id, problem_id, outcome FROM traces) USING (trace_id)
            LEFT JOIN root USING (problem_id)
        )
        SELECT trace_id, step_index, change AS value,
          CASE WHEN outcome <> 'unknown'
            THEN ((outcome = 'correct')::INTEGER - mean + change) / (sd + 1e-6) END AS advantage
        FROM changes LEFT JOIN traces_of_problem USING (problem_id)
    """
