"""Which solutions are right, and how good they are."""

import math
from statistics import fmean
from typing import Literal, TypeAlias

from stepmark.records import Label, Trace, Verdict
from storage.formats.base import Example, LeftOut

__all__ = ["ScoreBy", "is_right", "rank", "score_of", "solution_text"]

ScoreBy: TypeAlias = Literal["least", "product", "last", "mean"]
"""How the values of the steps become the score of a solution, as in the macro `trace_scores`."""


def solution_text(trace: Trace) -> str:
    """Return the solution as the model wrote it."""
    return "".join(trace.steps)


def is_right(example: Example) -> bool | LeftOut:
    """Return whether a solution is one to imitate.

    True if its answer is correct and no step is labelled incorrect, False if its answer is
    incorrect. A solution with a correct answer and an incorrect step is neither.
    """
    outcome = example.trace.outcome
    if not solution_text(example.trace).strip():
        return LeftOut("it has no steps")
    if outcome is Verdict.UNKNOWN:
        return LeftOut("its final answer is undecided")
    if outcome is Verdict.INCORRECT:
        return False
    if any(step.label is Verdict.INCORRECT for step in example.label.steps):
        return LeftOut("a step of a correct answer is incorrect")
    return True


def score_of(label: Label, score_by: ScoreBy) -> float | None:
    """Return the score of a solution from the known values of its steps; None without any."""
    values = [step.value for step in label.steps if step.value is not None]
    if not values:
        return None
    if score_by == "least":
        return min(values)
    if score_by == "product":
        return math.prod(values)
    if score_by == "last":
        return values[-1]
    return fmean(values)


def rank(example: Example, score_by: ScoreBy, *, lowest_first: bool = False) -> tuple[bool, float]:
    """Return a sort key: from the highest score down, or up; without a score at the end."""
    score = score_of(example.label, score_by)
    if score is None:
        return True, 0.0
    return False, score if lowest_first else -score
