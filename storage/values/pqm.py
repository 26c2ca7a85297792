"""Ranks to learn from: right steps rise above the question, wrong ones fall below it."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Pqm"]


@dataclass(frozen=True, kw_only=True)
class Pqm:
    """The order of Q values that is to be learned (PQM; Li and Li 2024, arXiv 2410.11287, theorem 3.5).

    Q falls from wrong step to wrong step, lies at 0 for the question, and rises from right step to right step: the k-th right step has
    rank k, the k-th wrong one -k. The loss compares steps by it, with a margin between what is wrong and all else. A step on which
    `source` is undecided has no rank.
    """

    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, CASE verdict
            WHEN 'correct' THEN count(*) FILTER (verdict = 'correct') OVER up_to
            WHEN 'incorrect' THEN -count(*) FILTER (verdict = 'incorrect') OVER up_to
          END::DOUBLE AS value
        FROM estimates WHERE method = source
        WINDOW up_to AS (PARTITION BY trace_id ORDER BY step_index)
    """
