"""What is told of a method on a ground, with the doubt that so many problems leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks._ground import Found, Labelled
from benchmarks._targets import Interval
from pipelines.scoring.metrics import Case, Score, score
from stepmark.records import NO_ERROR

__all__ = ["Group", "Measured", "difference", "measured", "reliability"]

RESAMPLES = 2000
LEVEL = 0.95
SEED = 20

Group = Callable[[Found], bool]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One method on one group of wrong traces; costs are for each of them."""

    traces: int
    problems: int
    exact: Interval
    """The share whose first error is named exactly; an undecided trace is a miss."""
    tokens: Interval
    rollouts: float
    own_ms: float
    """Of the processor, the model's part not counted; of all traces that were labelled, right ones too."""
    coverage: float
    """The share that is decided."""
    f1: float | None
    """ProcessBench's, the traces without an error counting as the ground has them."""
    confidence: Interval | None
    """Of the decided, on average; None for a method that does not tell one."""
    gap: Interval | None
    """Confidence less exactness, of the decided."""
    calibration_error: float | None


def measured(labelled: Labelled, group: Group) -> Measured:
    """All figures of a method on the wrong traces of a group."""
    wrong = [one for one in labelled.found if one.truth != NO_ERROR and group(one)]
    sound = [one for one in labelled.found if one.truth == NO_ERROR]
    told = _scored(wrong)
    sure = [one for one in wrong if one.said.confidence is not None]
    return Measured(
        traces=len(wrong),
        problems=len({one.trace.problem_id for one in wrong}),
        exact=_mean(wrong, _exact),
        tokens=_mean(wrong, _tokens),
        rollouts=sum(one.said.cost.rollouts for one in wrong) / len(wrong),
        own_ms=1000 * labelled.own_seconds / len(labelled.found),
        coverage=told.decided / told.traces,
        f1=_scored([*wrong, *sound]).f1,
        confidence=_mean(sure, _confidence) if sure else None,
        gap=_mean(sure, lambda one: _confidence(one) - _exact(one)) if sure else None,
        calibration_error=told.calibration_error,
    )


def difference(one: Labelled, other: Labelled, group: Group) -> tuple[Interval, Interval]:
    """How much more often one method is exact than another on the same traces, and its tokens as a share of the other's."""
    pairs = [
        (a, b)
        for a, b in zip(one.found, other.found, strict=True)
        if a.truth != NO_ERROR and group(a)
    ]
    problems = [a.trace.problem_id for a, _ in pairs]
    exact = _ratio(problems, [_exact(a) - _exact(b) for a, b in pairs], [1.0] * len(pairs))
    tokens = _ratio(problems, [_tokens(a) for a, _ in pairs], [_tokens(b) for _, b in pairs])
    return exact, tokens


def reliability(labelled: Labelled, group: Group) -> Sequence[tuple[float, float, int]]:
    """By tenths of confidence: its mean, the share that is exact, and how many traces."""
    told = _scored([one for one in labelled.found if one.truth != NO_ERROR and group(one)])
    return [(each.confidence, each.accuracy, each.traces) for each in told.reliability]


def _exact(one: Found) -> float:
    return float(one.said.first_error == one.truth)


def _tokens(one: Found) -> float:
    return float(one.said.cost.generated_tokens)


def _confidence(one: Found) -> float:
    assert one.said.confidence is not None
    return one.said.confidence


def _mean(found: Sequence[Found], of: Callable[[Found], float]) -> Interval:
    return _ratio(
        [one.trace.problem_id for one in found], [of(one) for one in found], [1.0] * len(found)
    )


def _ratio(problems: Sequence[str], above: Sequence[float], below: Sequence[float]) -> Interval:
    """The ratio of two sums; problems are drawn with replacement, each with all of its traces."""
    _, place = np.unique(problems, return_inverse=True)
    sums = [np.bincount(place, weights=each) for each in (above, below)]
    draws = np.random.default_rng(SEED).multinomial(
        len(sums[0]), np.full(len(sums[0]), 1 / len(sums[0])), size=RESAMPLES
    )
    ratios = (draws @ sums[0]) / (draws @ sums[1])
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=float(sums[0].sum() / sums[1].sum()), low=float(low), high=float(high))


def _scored(found: Sequence[Found]) -> Score:
    return score(
        Case(
            gold=one.truth,
            predicted=one.said.first_error,
            believed=one.said.first_error,
            confidence=one.said.confidence,
            tokens=one.said.cost.generated_tokens,
        )
        for one in found
    )
