"""Measures of step scores on held-out problems, with bootstrap intervals over problems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.targets import Interval
from stepmark.records import NO_ERROR, Verdict

__all__ = [
    "Comparison",
    "ScoredTrace",
    "best_of_samples",
    "best_threshold",
    "first_error_f1",
    "majority_of_samples",
    "step_auc",
]

Floats = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
# Fixed, so that all methods are measured on the same resampled problems.
SEED = 20


@dataclass(frozen=True, kw_only=True)
class ScoredTrace:
    """The scores of one trace, and the truth about it."""

    problem_id: str
    first_error: int | None
    """The true first error; -1 for none, None if the oracle cannot read a step before it."""
    outcome: Verdict
    answer: str | None
    """The final answer that the trace states."""
    scores: Sequence[float]
    """A score of each step; the larger, the more likely the step is correct."""
    copies: int = 1
    """How many traces of the problem have this text. Only `best_of_samples` and
    `majority_of_samples` count copies."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measure on all problems and on each resample of them."""

    value: float
    resampled: Floats
    """Array [resample]."""

    @property
    def interval(self) -> Interval:
        """The measure with its 95 % interval."""
        return _interval(self.value, self.resampled)

    def minus(self, other: "Comparison") -> Interval:
        """Return the paired difference to the measure of another method."""
        return _interval(self.value - other.value, self.resampled - other.resampled)


def first_error_f1(traces: Sequence[ScoredTrace], threshold: float) -> Comparison:
    """Return the F1 score of ProcessBench: the first step with a score below the threshold.

    It is the harmonic mean of the shares of exact first errors on traces with and without an error.
    """
    decided = _decided(traces)
    problems = _problem_indices(decided)
    return _comparison(_f1(decided, threshold, problems, _resample_weights(problems)))


def _f1(
    decided: Sequence[ScoredTrace],
    threshold: float,
    problems: NDArray[np.int64],
    weights: Floats,
) -> Floats:
    """Return F1 for each row of `weights`, which has how often each problem counts."""
    exact = [predicted_error(trace.scores, threshold) == trace.first_error for trace in decided]
    wrong = [trace.first_error != NO_ERROR for trace in decided]
    hits = np.array(exact, dtype=float)
    is_wrong = np.array(wrong, dtype=float)
    sums = list[Floats]()
    for values in (hits * is_wrong, is_wrong, hits * (1 - is_wrong), 1 - is_wrong):
        sums.append(weights @ np.bincount(problems, weights=values))
    wrong_accuracy = _ratio(sums[0], sums[1])
    right_accuracy = _ratio(sums[2], sums[3])
    return _ratio(2 * wrong_accuracy * right_accuracy, wrong_accuracy + right_accuracy)


def _decided(traces: Sequence[ScoredTrace]) -> Sequence[ScoredTrace]:
    return [trace for trace in traces if trace.first_error is not None]


def predicted_error(scores: Sequence[float], threshold: float) -> int:
    """Return the index of the first score below the threshold, -1 if there is none."""
    for index, score in enumerate(scores):
        if score < threshold:
            return index
    return NO_ERROR


def best_threshold(traces: Sequence[ScoredTrace]) -> float:
    """Return the threshold with the highest F1, among 200 quantiles of the lowest scores."""
    lowest = [min(trace.scores) for trace in traces]
    thresholds = np.unique(np.quantile(lowest, np.linspace(0, 1, 200)))
    decided = _decided(traces)
    problems = _problem_indices(decided)
    # Every problem counts once: resamples are not needed to choose.
    weights = np.ones((1, int(problems.max()) + 1))
    scores = list[float]()
    for threshold in thresholds:
        scores.append(float(_f1(decided, float(threshold), problems, weights)[0]))
    return float(thresholds[int(np.argmax(scores))])


def step_auc(traces: Sequence[ScoredTrace]) -> Comparison:
    """Return the probability that a correct step has a larger score than a first error.

    Steps after the first error are left out. Equal scores count one half.
    """
    correct = list[tuple[int, float]]()
    incorrect = list[tuple[int, float]]()
    decided = _decided(traces)
    problems = _problem_indices(decided)
    for problem, trace in zip(problems, decided, strict=True):
        end = len(trace.scores) if trace.first_error == NO_ERROR else trace.first_error
        assert end is not None, "undecided traces are left out"
        correct += [(problem, score) for score in trace.scores[:end]]
        if trace.first_error != NO_ERROR:
            incorrect.append((problem, trace.scores[end]))
    count = int(problems.max()) + 1
    # How many pairs of an incorrect step of problem i and a correct one of problem j are ranked
    # right, array [i, j], from which every resample is computed.
    ranked = np.zeros((count, count))
    correct_problems = np.array([problem for problem, _ in correct])
    correct_scores = np.array([score for _, score in correct])
    for problem, score in incorrect:
        wins = (correct_scores > score) + 0.5 * (correct_scores == score)
        ranked[problem] += np.bincount(correct_problems, weights=wins, minlength=count)
    weights = _resample_weights(problems)
    correct_counts = np.bincount(correct_problems, minlength=count)
    incorrect_counts = np.bincount([problem for problem, _ in incorrect], minlength=count)
    pairs = (weights @ incorrect_counts) * (weights @ correct_counts)
    return _comparison(_ratio(((weights @ ranked) * weights).sum(axis=1), pairs))


def best_of_samples(traces: Sequence[ScoredTrace]) -> Comparison:
    """Return the share of problems whose best trace has a correct answer.

    The best trace is the one with an answer whose lowest step score is largest. Equally good traces
    count by their share of correct answers.
    """
    accuracies = list[float]()
    for problem_traces in _by_problem(traces).values():
        samples = [trace for trace in problem_traces if trace.answer is not None]
        lowest = [min(trace.scores) for trace in samples]
        best = [trace for trace, score in zip(samples, lowest, strict=True) if score == max(lowest)]
        accuracies.append(_accuracy(best))
    return _mean(accuracies)


def majority_of_samples(traces: Sequence[ScoredTrace]) -> Comparison:
    """Return the share of problems whose most frequent answer is correct; ties count by share."""
    accuracies = list[float]()
    for samples in _by_problem(traces).values():
        by_answer = dict[str, list[ScoredTrace]]()
        for trace in samples:
            if trace.answer is not None:
                by_answer.setdefault(trace.answer, []).append(trace)
        votes = {answer: _count(group) for answer, group in by_answer.items()}
        most = max(votes.values(), default=0)
        # One trace of each answer: its other traces have the same outcome.
        winners = [
            replace(by_answer[answer][0], copies=1)
            for answer, count in votes.items()
            if count == most
        ]
        accuracies.append(_accuracy(winners))
    return _mean(accuracies)


def _accuracy(traces: Sequence[ScoredTrace]) -> float:
    if not traces:
        return 0.0
    correct = [trace for trace in traces if trace.outcome is Verdict.CORRECT]
    return _count(correct) / _count(traces)


def _count(traces: Sequence[ScoredTrace]) -> int:
    return sum(trace.copies for trace in traces)


def _by_problem(traces: Sequence[ScoredTrace]) -> Mapping[str, Sequence[ScoredTrace]]:
    by_problem = dict[str, list[ScoredTrace]]()
    for trace in traces:
        by_problem.setdefault(trace.problem_id, []).append(trace)
    return by_problem


def _mean(values: Sequence[float]) -> Comparison:
    weights = _resample_weights(np.arange(len(values)))
    return _comparison(weights @ np.array(values) / len(values))


def _problem_indices(traces: Sequence[ScoredTrace]) -> NDArray[np.int64]:
    """Return a number of the problem of each trace, from 0."""
    _, indices = np.unique([trace.problem_id for trace in traces], return_inverse=True)
    return indices.astype(np.int64)


def _resample_weights(problems: NDArray[np.int64]) -> Floats:
    """Return how often each problem is drawn, array [1 + resample, problem].

    The first row has every problem once.
    """
    count = int(problems.max()) + 1
    draws = np.random.default_rng(SEED).multinomial(
        count, np.full(count, 1 / count), size=RESAMPLES
    )
    return np.vstack([np.ones(count), draws])


def _comparison(values: Floats) -> Comparison:
    return Comparison(value=float(values[0]), resampled=values[1:])


def _ratio(numerators: Floats, denominators: Floats) -> Floats:
    """Return the quotients; 0 where the denominator is 0."""
    return np.divide(
        numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0
    )


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))
