"""Ranks as training targets: correct steps rank above the question, incorrect ones below it."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Pqm"]


@dataclass(frozen=True, kw_only=True)
class Pqm:
    """The order of Q values to learn (PQM; Li and Li 2024, arXiv 2410.11287, theorem 3.5).

    Q decreases from one incorrect step to the next, is 0 for the question, and increases from one
    correct step to the next: the k-th correct step has rank k, the k-th incorrect one -k. The loss
    compares steps by their ranks, with a margin between incorrect steps and the others. A step on
    which `source` is undecided has no rank.
    """

    source: str = "monte_carlo"
    """The method whose verdicts are read."""

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
