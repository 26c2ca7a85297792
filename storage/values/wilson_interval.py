"""How sure an estimate is: the Wilson interval of the share of correct trials."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["WilsonInterval"]


@dataclass(frozen=True, kw_only=True)
class WilsonInterval:
    """The share p of correct trials, with the bounds of its score interval (Wilson 1927).

    With n trials, the bounds are (p + z²/2n ± z · sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n). The
    default z gives an interval of 95 %. Undecided trials are not counted; without a decided one
    the step has no value and no bounds.
    """

    z: Annotated[float, Field(gt=0, le=10)] = 1.96
    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("low", "high", "trials")
    # Rounding can move a bound out of [0, 1].
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, p AS value,
          CASE WHEN n > 0 THEN greatest(0, middle - half) END AS low,
          CASE WHEN n > 0 THEN least(1, middle + half) END AS high,
          n AS trials
        FROM (
          SELECT trace_id, step_index, p, n,
            (p + z * z / (2 * n)) / (1 + z * z / n) AS middle,
            z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n) AS half
          FROM (
            SELECT trace_id, step_index, trials AS n, successes / nullif(trials, 0) AS p
            FROM estimates WHERE method = source
          )
        )
    """
