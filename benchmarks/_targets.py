"""Whether a figure meets its target: held, missed, or open, where so few problems or rounds cannot tell."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["HELD", "MISSED", "OPEN", "Interval", "beside", "of_rounds", "worst"]

HELD, OPEN, MISSED = "held", "open", "missed"
ONE_ROUND = 0.1
"""What a ratio of two passes may be off by, on idle cores: the single rounds told in `README.md`."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure, and the ends of what it may be: where problems were drawn, at 95 %."""

    value: float
    low: float
    high: float


def beside(
    figure: Interval | float, *, least: float = -math.inf, most: float = math.inf
) -> Mapping[str, Any]:
    """A figure beside its target; missed is what chance does not explain, since no end of the interval reaches it."""
    known = (
        figure if isinstance(figure, Interval) else Interval(value=figure, low=figure, high=figure)
    )
    reached = known.high >= least and known.low <= most
    verdict = HELD if least <= known.value <= most else OPEN if reached else MISSED
    ends = {
        name: end for name, end in (("at_least", least), ("at_most", most)) if math.isfinite(end)
    }
    return {**asdict(known), **ends, "verdict": verdict}


def of_rounds(ratios: Sequence[float]) -> Interval:
    """The median of a ratio over rounds, and how far off it may be: the less, the more rounds."""
    value, doubt = statistics.median(ratios), ONE_ROUND / math.sqrt(len(ratios))
    return Interval(value=value, low=value * (1 - doubt), high=value * (1 + doubt))


def worst(verdicts: Iterable[str]) -> str:
    """The verdict on several targets together."""
    return max(verdicts, key=(HELD, OPEN, MISSED).index)
