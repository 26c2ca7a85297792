"""Speed of a labeller, and agreement of its labels with the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stepmark.records import Verdict, first_error_of

__all__ = ["Labels", "Score", "Usage", "merge_answer", "score_labels"]

Labels = Sequence[Verdict]
"""The verdicts of one trace, by step."""


class Usage(NamedTuple):
    """The time and tokens of one labeller."""

    seconds: float
    generated_tokens: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """The measures of one labeller. The field names are keys in the JSON and columns."""

    seconds: float
    generated_tokens: int
    labelled_steps: int
    steps_per_second: float
    steps_right: float
    """The share of correct labels among the labelled steps that the oracle decides."""
    first_errors_right: float
    """The share of exact first errors among the traces that the oracle decides. An undecided trace
    counts as a miss."""
    foreign_cores: float
    """Cores that other programs kept busy."""


def merge_answer(steps: Labels) -> Labels:
    """Return the verdicts with the last step and the answer after it merged into one.

    distilabel labels the two as one step.
    """
    *earlier, last, answer = steps
    # The merged step is incorrect if either is, and unknown if either is unknown.
    for verdict in (Verdict.INCORRECT, Verdict.UNKNOWN):
        if verdict in (last, answer):
            return [*earlier, verdict]
    return [*earlier, Verdict.CORRECT]


def score_labels(
    labels: Sequence[Labels], truths: Sequence[Labels], usage: Usage, foreign_cores: float
) -> Score:
    """Return the speed of a labeller and its agreement with the oracle, trace by trace."""
    labelled_steps = 0
    decided_steps = 0
    correct_labels = 0
    decided_traces = 0
    exact_traces = 0
    for steps, true_steps in zip(labels, truths, strict=True):
        for label, truth in zip(steps, true_steps, strict=True):
            if label is Verdict.UNKNOWN:
                continue
            labelled_steps += 1
            if truth is not Verdict.UNKNOWN:
                decided_steps += 1
                correct_labels += label is truth
        true_first_error = first_error_of(true_steps)
        if true_first_error is not None:
            decided_traces += 1
            exact_traces += first_error_of(steps) == true_first_error
    return Score(
        seconds=round(usage.seconds, 1),
        generated_tokens=usage.generated_tokens,
        labelled_steps=labelled_steps,
        steps_per_second=round(labelled_steps / usage.seconds, 2),
        steps_right=round(correct_labels / decided_steps, 3),
        first_errors_right=round(exact_traces / decided_traces, 3),
        foreign_cores=round(foreign_cores, 2),
    )
