"""Labels of people on other steps of the same text: carried over where that is exact."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from stepmark.records import NO_ERROR, Annotation, StepAnnotation, Verdict

__all__ = [
    "CARRIED_OVER",
    "CUT",
    "GONE",
    "INVALID",
    "OTHER_TEXT",
    "UNKNOWN_STEPS",
    "carry_over",
]

CARRIED_OVER = "used for the steps that the trace has now"
GONE = "the dataset has no such trace"
CUT = "the step of the first error is divided among steps that also contain others"
OTHER_TEXT = "the text of the trace has changed"
INVALID = "the label does not have one verdict per step"
UNKNOWN_STEPS = "the steps that the label was made on are not known"
"""The part of the traces, or the journal of the rater, was damaged or removed."""

Span = tuple[int, int]
"""The positions of the first character of a step and of the one after its last, in its trace."""


def carry_over(
    annotation: Annotation, old_steps: Sequence[str], new_steps: Sequence[str]
) -> Annotation | str:
    """Return a human label for other steps of the same text, or the reason why it has none.

    The first error is carried over if a new step begins where its step began, or if its step is
    inside one new step. A new step has the verdict of the old steps that it overlaps if they agree,
    and is unknown otherwise. It is neutral if it is correct and overlaps a neutral step.
    """
    if tuple(old_steps) == tuple(new_steps):
        return annotation
    if annotation.steps and not old_steps:
        return UNKNOWN_STEPS
    if "".join(old_steps) != "".join(new_steps):
        return OTHER_TEXT
    first_error = annotation.first_error
    if len(annotation.steps) != len(old_steps) or (first_error or 0) >= len(old_steps):
        return INVALID
    old_spans = _spans(old_steps)
    new_spans = _spans(new_steps)
    if first_error is not None and first_error != NO_ERROR:
        first_error = _corresponding_step(old_spans[first_error], new_spans)
        if first_error is None:
            return CUT
    steps = list[StepAnnotation]()
    neutral_steps = list[int]()
    for index, span in enumerate(new_spans):
        overlapping = _overlapping_steps(span, old_spans)
        step = _merge([annotation.steps[old_index] for old_index in overlapping])
        if index == first_error:
            step = replace(step, verdict=Verdict.INCORRECT)
        has_neutral_step = not set(annotation.neutral_steps).isdisjoint(overlapping)
        if step.verdict is Verdict.CORRECT and has_neutral_step:
            neutral_steps.append(index)
        steps.append(step)
    return replace(
        annotation,
        first_error=first_error,
        steps=tuple(steps),
        neutral_steps=tuple(neutral_steps),
        # Probabilities of old steps cannot be divided among new ones.
        posterior=(),
    )


def _spans(steps: Sequence[str]) -> Sequence[Span]:
    return list(pairwise(accumulate(map(len, steps), initial=0)))


def _corresponding_step(span: Span, new_spans: Sequence[Span]) -> int | None:
    """Return the new step that begins with the span or contains it; None if there is none.

    A step without text between two new steps is in neither of them.
    """
    start, end = span
    for index, (new_start, new_end) in enumerate(new_spans):
        if new_start <= start < new_end:
            begins_here = new_start == start and start < end
            is_inside = new_start < start and end <= new_end
            return index if begins_here or is_inside else None
    return None


def _overlapping_steps(span: Span, old_spans: Sequence[Span]) -> Sequence[int]:
    """Return the indices of the old steps that have a character in common with the span."""
    start, end = span
    indices = list[int]()
    for index, (old_start, old_end) in enumerate(old_spans):
        if old_start < end and start < old_end:
            indices.append(index)
    return indices


def _merge(steps: Sequence[StepAnnotation]) -> StepAnnotation:
    """Return the annotation of a step that consists of these steps, or of a part of one."""
    if len(steps) == 1:
        return steps[0]
    verdicts = {step.verdict for step in steps}
    rationales = [step.rationale for step in steps if step.rationale]
    verdict = verdicts.pop() if len(verdicts) == 1 else Verdict.UNKNOWN
    return StepAnnotation(verdict=verdict, rationale="\n".join(rationales))
