"""Comparison of measured values with their targets.

A target is held, missed or open. It is open when the value misses it, but so few problems or rounds
were measured that chance can explain this.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "HELD",
    "MISSED",
    "OPEN",
    "Interval",
    "compare_with_target",
    "median_ratio",
    "worst_verdict",
]

HELD = "held"
OPEN = "open"
MISSED = "missed"
# The relative error of a ratio of two passes on idle cores, from the single rounds that `README.md`
# lists.
SINGLE_ROUND_ERROR = 0.1


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value with its uncertainty; a 95 % interval where problems were sampled."""

    value: float
    low: float
    high: float


def compare_with_target(
    measurement: Interval | float, *, least: float = -math.inf, most: float = math.inf
) -> Mapping[str, Any]:
    """Return the value, its interval, the limits of its target and the verdict, ready for JSON.

    The verdict is `MISSED` if no value in the interval reaches the target.
    """
    if isinstance(measurement, Interval):
        interval = measurement
    else:
        interval = Interval(value=measurement, low=measurement, high=measurement)
    if least <= interval.value <= most:
        verdict = HELD
    elif interval.high >= least and interval.low <= most:
        verdict = OPEN
    else:
        verdict = MISSED
    comparison: dict[str, Any] = asdict(interval)
    # JSON has no infinite numbers.
    if math.isfinite(least):
        comparison["at_least"] = least
    if math.isfinite(most):
        comparison["at_most"] = most
    comparison["verdict"] = verdict
    return comparison


def median_ratio(ratios: Sequence[float]) -> Interval:
    """Return the median of a ratio over rounds, with an interval that narrows with more rounds."""
    value = statistics.median(ratios)
    error = SINGLE_ROUND_ERROR / math.sqrt(len(ratios))
    return Interval(value=value, low=value * (1 - error), high=value * (1 + error))


def worst_verdict(verdicts: Iterable[str]) -> str:
    """Return the verdict on several targets together."""
    return max(verdicts, key=(HELD, OPEN, MISSED).index)
