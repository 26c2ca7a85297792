"""Suspicions of formal checkers: steps with a statement that is false only as it was read.

A suspicion is no verdict. The counts of the statements show it: the step is unknown, and not every
statement that was decided holds.
"""

from stepmark.records import Annotation, StepAnnotation, Verdict

__all__ = ["counts_statements", "first_suspicion", "is_suspected"]


def counts_statements(annotation: Annotation) -> bool:
    """Return whether an annotation comes from a formal checker."""
    return annotation.claims_checked is not None


def is_suspected(step: StepAnnotation) -> bool:
    """Return whether a formal checker suspects a step."""
    return step.verdict is Verdict.UNKNOWN and step.successes < step.trials


def first_suspicion(annotation: Annotation) -> int | None:
    """Return the first step that a formal checker suspects; None if it suspects none.

    Suspicions behind a step that the checker finds incorrect do not count: they may carry its error
    on.
    """
    for index, step in enumerate(annotation.steps):
        if step.verdict is Verdict.INCORRECT:
            return None
        if is_suspected(step):
            return index
    return None
