"""The numbers of trials behind the values of steps, which labels do not have."""

from collections.abc import Sequence

from stepmark.records import StepAnnotation
from storage.formats.base import Example

__all__ = ["steps_by"]


def steps_by(example: Example, method: str) -> Sequence[StepAnnotation] | None:
    """Return the annotation of every step by a method; None if it has not annotated the trace."""
    for annotation in example.annotations:
        is_complete = len(annotation.steps) == len(example.trace.steps)
        if annotation.method == method and annotation.error is None and is_complete:
            return annotation.steps
    return None
