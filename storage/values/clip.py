"""Clipped values: only what a step lacks to a threshold counts, so no step gains by repetition."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

__all__ = ["Clip"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """r = min(v - threshold, 0).

    Similar to Clip of Gao et al. (2024, arXiv 2410.15115), which treats the last step of a
    solution separately. Its threshold is chosen so that most steps have the value 0. Every sum of
    the values is at most 0, so a policy gains nothing by repeating good steps.
    """

    # Below it, a step fails more often than it succeeds.
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    source: str = "monte_carlo"

    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    # `least` ignores NULL, so an unknown value needs its own case.
    sql: ClassVar[str] = """
        SELECT trace_id, step_index,
          CASE WHEN estimates.value IS NOT NULL
            THEN least(estimates.value - threshold, 0) END AS value
        FROM estimates WHERE method = source
    """
