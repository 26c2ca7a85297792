"""Min-form credit: the worst step of a trace gets nearly all of its reward."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["Softmin"]


@dataclass(frozen=True, kw_only=True)
class Softmin:
    """r_t · exp(-r_t / T) / (sum of exp(-r_i / T) over the steps), with r = 2v - 1.

    The formula is that of PURE (Cheng et al. 2025, arXiv 2504.15275), where r is the probability
    of a correct step minus that of an incorrect one, and T = 0.1 in its code. The values of a trace
    sum to nearly its least r for a small T. Steps without a value are left out of the sum.
    """

    # The lower bound keeps the exponentials in the range of a double.
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 0.1
    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index,
          reward * exp(-reward / temperature)
            / sum(exp(-reward / temperature)) OVER (PARTITION BY trace_id) AS value
        FROM (
          SELECT trace_id, step_index, 2 * estimates.value - 1 AS reward
          FROM estimates WHERE method = source
        )
    """
