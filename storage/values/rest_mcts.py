"""Progress to a correct answer, counted in steps of the tree of a problem's solutions."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["RestMcts"]


@dataclass(frozen=True, kw_only=True)
class RestMcts:
    """V_t = max(0, V_t-1 + (1 - V_t-1) · r_t / m_t), with V = 0 for the question.

    The formula is that of ReST-MCTS* (Zhang et al. 2024, arXiv 2406.03816), as its code computes it
    for a finished tree. r is 1 if a correct solution begins with the prefix, and -1 otherwise. m is
    one more than the least number of steps from the prefix to the end of a correct solution. A
    prefix that begins none has the m of its longest part that begins one. If no solution of the
    problem is correct, there are no values.

    The leaves of the tree are the problem's traces and all rollouts of any method except those in
    `but`. A wrong outcome alone makes r = -1: from a prefix on whose solutions are undecided, the
    values are unknown.
    """

    but: tuple[str, ...] = ("prover",)

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    # The recursion is 1 - V_t = min(1, (1 - V_t-1) · (1 - r_t / m_t)). The minimum applies only
    # after the last correct prefix, where the product grows, so it can be taken at the end.
    sql: ClassVar[str] = """
        WITH leaf AS (
          SELECT problem_id, steps, outcome FROM solutions
          WHERE method IS NULL OR NOT list_contains(but, method)
        ), node AS (
          SELECT problem_id, steps[:depth] AS prefix,
            1 + min(len(steps) - depth) FILTER (outcome = 'correct') AS distance,
            bool_or(outcome = 'unknown') AS has_unknown_leaf
          FROM (SELECT *, unnest(range(len(steps) + 1)) AS depth FROM leaf)
          GROUP BY ALL
        ), path AS (
          SELECT trace_id, problem_id, depth, steps[:depth] AS prefix
          FROM (
            SELECT trace_id, problem_id, steps, unnest(range(len(steps) + 1)) AS depth FROM traces
          )
        ), factors AS (
          SELECT trace_id, depth, CASE
            WHEN depth = 0 AND distance IS NOT NULL THEN 1
            WHEN distance IS NOT NULL THEN 1 - 1 / distance
            WHEN NOT has_unknown_leaf
              THEN 1 + 1 / last_value(distance IGNORE NULLS) OVER up_to
          END AS factor
          FROM path LEFT JOIN node USING (problem_id, prefix)
          WINDOW up_to AS (PARTITION BY trace_id ORDER BY depth)
        )
        SELECT trace_id, step_index, value FROM (
          SELECT trace_id, (depth - 1)::INTEGER AS step_index, CASE
            WHEN count(*) OVER up_to = count(factor) OVER up_to
              THEN greatest(0, 1 - product(factor) OVER up_to)
          END AS value
          FROM factors WINDOW up_to AS (PARTITION BY trace_id ORDER BY depth)
        )
        WHERE step_index >= 0
    """
