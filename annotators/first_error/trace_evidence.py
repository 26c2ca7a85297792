"""Collect the evidence on one trace: its outcome, its rollouts and features of other methods."""

from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from annotators.first_error.features import Features, count_features
from annotators.first_error.numerics import Floats

__all__ = ["Observation", "RolloutEnd", "StepCounts", "TraceEvidence"]

Number = TypeVar("Number", float, Floats)


class RolloutEnd(IntEnum):
    """The final answer of a rollout, relative to the reference and to the trace."""

    CORRECT = 0
    SAME_WRONG = 1
    """The trace's own wrong answer."""
    OTHER = 2


class Observation(NamedTuple):
    """A rollout or another solution of the problem, compared with a trace."""

    start: int
    """The number of trace steps in its prompt."""
    diverges_at: int
    """The first step whose wording differs from the trace's; the trace's length if none does."""
    end: int
    """A `RolloutEnd`."""


class StepCounts(NamedTuple, Generic[Number]):
    """The counts that the likelihood of a step depends on: numbers, or arrays [step]."""

    steps_left: Number
    """Steps from this one to the last, both included."""
    verbatim_rate: Number
    """Share of the steps that have only one possible wording."""
    visits: Number
    """Rollouts that passed the step with the trace's wording or diverged there."""
    passed: Number
    """Rollouts that passed the step with the trace's wording."""
    diverged_correct: Number
    """Rollouts that diverged there and ended correct."""
    diverged_same: Number
    """Rollouts that diverged there and ended with the trace's wrong answer."""
    diverged_other: Number
    """Rollouts that diverged there and ended otherwise."""


class TraceEvidence:
    """All evidence on the first error of one trace.

    Attributes:
        steps: T, the number of steps.
        correct_outcome: Whether the trace's own answer is correct.
        feature_counts: Features of evidence methods, array [first error, state * feature].
        visits: Rollouts that reached each step with the trace's wording, list [step].
        completed: Rollouts with the trace's wording up to its last step, by `RolloutEnd`.
        rows: Cached rows of `StepLikelihoods`, list [step]; None where evidence has been added.
            They belong to one model: use an instance with one `StepLikelihoods` only.
    """

    def __init__(self, features: Features, *, correct_outcome: bool, verbatim_rate: float) -> None:
        """Start without rollouts.

        Args:
            features: Features of evidence methods, array [method, step].
            correct_outcome: Whether the trace's own answer is correct.
            verbatim_rate: Share of the steps that have only one possible wording.
        """
        steps = features.shape[1]
        self.steps = steps
        self.correct_outcome = correct_outcome
        self.feature_counts = count_features(features)
        self.visits = [0.0] * steps
        self.completed = [0] * len(RolloutEnd)
        self.rows: list[Floats | None] = [None] * steps
        self._verbatim_rate = verbatim_rate
        self._passed = [0.0] * steps
        self._diverged = [[0.0] * len(RolloutEnd) for _ in range(steps)]

    def add(self, observation: Observation) -> None:
        """Count a rollout at every step that it visits."""
        start, diverges_at, end = observation
        for step in range(start, diverges_at):
            self.visits[step] += 1
            self._passed[step] += 1
            self.rows[step] = None
        if diverges_at < self.steps:
            self.visits[diverges_at] += 1
            self._diverged[diverges_at][end] += 1
            self.rows[diverges_at] = None
        else:
            self.completed[end] += 1

    def step_counts(self, step: int) -> StepCounts[float]:
        """Return the counts at a step."""
        return StepCounts(
            float(self.steps - step),
            self._verbatim_rate,
            self.visits[step],
            self._passed[step],
            *self._diverged[step],
        )
