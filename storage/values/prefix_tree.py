"""The mean outcome of all solutions of a problem that begin with the same prefix."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["PrefixTree"]


@dataclass(frozen=True, kw_only=True)
class PrefixTree:
    """The mean outcome of a prefix's leaves in the tree of a problem's solutions.

    The method is P2T of TEMPO (Tran et al. 2025, arXiv 2509.18314). Leaves are the problem's traces
    and all rollouts of any method except those in `but`, which another model wrote. A discovered
    trace is a leaf by its rollout, and not a second time by itself. The leaves of a prefix are
    those that begin with its text and were free to diverge from it: a rollout from a longer prefix
    is excluded, because that prefix was fixed. In a full tree with equal numbers of children, as in
    TreeRPO (Yang et al. 2025, arXiv 2506.05183), the value is its mean of means.
    Unknown outcomes are excluded from the mean and counted in `unknowns`. Searches that choose
    prefixes by earlier outcomes introduce a small bias.
    """

    but: tuple[str, ...] = ("prover",)
    """The methods whose rollouts are excluded."""

    version: ClassVar[int] = 2
    columns: ClassVar[tuple[str, ...]] = ("leaves", "unknowns")
    # `free_from` is the length of the text that a leaf had to begin with.
    sql: ClassVar[str] = """
        WITH leaf AS (
          SELECT problem_id, outcome, 0 AS free_from, array_to_string(steps, '') AS solution
          FROM traces WHERE found_by IS NULL
          UNION ALL
          SELECT problem_id, rollouts.outcome, length(start) AS free_from, start || text AS solution
          FROM rollouts
            JOIN (SELECT trace_id, problem_id, steps AS prefix FROM traces) USING (trace_id),
            LATERAL (SELECT array_to_string(prefix[:prefix_steps], '') AS start)
          WHERE NOT list_contains(but, method)
        ), node AS (
          SELECT trace_id, problem_id, (number - 1)::INTEGER AS step_index,
            number = len(steps) AS whole, array_to_string(steps[:number], '') AS prefix
          FROM (
            SELECT trace_id, problem_id, steps, unnest(range(1, len(steps) + 1)) AS number
            FROM traces
          )
        )
        SELECT trace_id, step_index,
          avg((outcome = 'correct')::INTEGER) FILTER (outcome <> 'unknown') AS value,
          count(*) FILTER (outcome <> 'unknown') AS leaves,
          count(*) FILTER (outcome = 'unknown') AS unknowns
        FROM node JOIN leaf USING (problem_id)
        WHERE free_from <= length(prefix)
          AND CASE WHEN whole THEN solution = prefix ELSE starts_with(solution, prefix) END
        GROUP BY trace_id, step_index
    """
