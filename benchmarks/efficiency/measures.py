"""Measures of a method on a group of traces, with confidence intervals over problems."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchmarks.common.targets import Interval
from benchmarks.efficiency.ground_truth import MethodResults, TraceResult
from pipelines.scoring.metrics import Case, Score, score
from stepmark.records import NO_ERROR

__all__ = [
    "Measures",
    "TraceGroup",
    "compare_methods",
    "measure_method",
    "reliability_bins",
    "wrong_traces",
]

# Bootstrap samples of an interval.
RESAMPLES = 2000
LEVEL = 0.95
# Fixed, so that equal results have equal intervals.
SEED = 20

TraceGroup = Callable[[TraceResult], bool]
"""Returns whether a trace belongs to a group."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The measures of one method on one group of wrong traces. Costs are means per trace.

    The alias is the key in the JSON.
    """

    traces: int
    problems: int
    exact: Interval
    """The share whose first error is exact. An undecided trace counts as a miss."""
    tokens: Interval
    rollouts: float
    cpu_ms: Annotated[float, Field(alias="own_ms")]
    """CPU time of the method without the model, as a mean over all annotated traces, also those
    without an error."""
    coverage: float
    """The share that is decided."""
    f1: float | None
    """The F1 score of ProcessBench. The traces without an error are those of the ground truth."""
    confidence: Interval | None
    """The mean over decided traces; None for a method without confidences."""
    gap: Interval | None
    """The mean confidence minus the exact share, over decided traces."""
    calibration_error: float | None


def wrong_traces(results: MethodResults, group: TraceGroup) -> Sequence[TraceResult]:
    """Return the results on the traces of a group that have an error."""
    wrong = list[TraceResult]()
    for result in results.traces:
        if result.first_error != NO_ERROR and group(result):
            wrong.append(result)
    return wrong


def measure_method(results: MethodResults, group: TraceGroup) -> Measures:
    """Return the measures of a method on the wrong traces of a group."""
    wrong = wrong_traces(results, group)
    sound = [result for result in results.traces if result.first_error == NO_ERROR]
    wrong_score = _score(wrong)
    confident = [result for result in wrong if result.annotation.confidence is not None]
    confidence = None
    gap = None
    if confident:
        confidence = _mean(confident, _confidence)
        gap = _mean(confident, lambda result: _confidence(result) - _exact(result))
    return Measures(
        traces=len(wrong),
        problems=len({result.trace.problem_id for result in wrong}),
        exact=_mean(wrong, _exact),
        tokens=_mean(wrong, _tokens),
        rollouts=sum(result.annotation.cost.rollouts for result in wrong) / len(wrong),
        cpu_ms=1000 * results.cpu_seconds / len(results.traces),
        coverage=wrong_score.decided / wrong_score.traces,
        f1=_score([*wrong, *sound]).f1,
        confidence=confidence,
        gap=gap,
        calibration_error=wrong_score.calibration_error,
    )


def compare_methods(
    results: MethodResults, baseline: MethodResults, group: TraceGroup
) -> tuple[Interval, Interval]:
    """Return the difference in the exact share and the ratio of the tokens to a baseline.

    Both are paired: the results are on the same traces.
    """
    problems = list[str]()
    differences = list[float]()
    tokens = list[float]()
    baseline_tokens = list[float]()
    for result, other in zip(results.traces, baseline.traces, strict=True):
        if result.first_error != NO_ERROR and group(result):
            problems.append(result.trace.problem_id)
            differences.append(_exact(result) - _exact(other))
            tokens.append(_tokens(result))
            baseline_tokens.append(_tokens(other))
    exact = _ratio(problems, differences, [1.0] * len(problems))
    return exact, _ratio(problems, tokens, baseline_tokens)


def reliability_bins(
    results: MethodResults, group: TraceGroup
) -> Sequence[tuple[float, float, int]]:
    """Return (mean confidence, exact share, traces) for each tenth of confidence."""
    bins = list[tuple[float, float, int]]()
    for tenth in _score(wrong_traces(results, group)).reliability:
        bins.append((tenth.confidence, tenth.accuracy, tenth.traces))
    return bins


def _exact(result: TraceResult) -> float:
    return float(result.annotation.first_error == result.first_error)


def _tokens(result: TraceResult) -> float:
    return float(result.annotation.cost.generated_tokens)


def _confidence(result: TraceResult) -> float:
    assert result.annotation.confidence is not None
    return result.annotation.confidence


def _mean(results: Sequence[TraceResult], value: Callable[[TraceResult], float]) -> Interval:
    problems = [result.trace.problem_id for result in results]
    return _ratio(problems, [value(result) for result in results], [1.0] * len(results))


def _ratio(
    problems: Sequence[str], numerators: Sequence[float], denominators: Sequence[float]
) -> Interval:
    """Return the ratio of two sums over traces with a bootstrap interval.

    Problems are resampled with all their traces, because the traces of a problem are correlated.
    """
    _, problem_indices = np.unique(problems, return_inverse=True)
    numerator = np.bincount(problem_indices, weights=numerators)
    denominator = np.bincount(problem_indices, weights=denominators)
    count = len(numerator)
    # How often each problem is drawn, array [resample, problem].
    draws = np.random.default_rng(SEED).multinomial(
        count, np.full(count, 1 / count), size=RESAMPLES
    )
    ratios = (draws @ numerator) / (draws @ denominator)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(numerator.sum() / denominator.sum())
    return Interval(value=value, low=float(low), high=float(high))


def _score(results: Sequence[TraceResult]) -> Score:
    cases = list[Case]()
    for result in results:
        annotation = result.annotation
        case = Case(
            gold=result.first_error,
            predicted=annotation.first_error,
            stated_error=annotation.first_error,
            confidence=annotation.confidence,
            tokens=annotation.cost.generated_tokens,
        )
        cases.append(case)
    return score(cases)
