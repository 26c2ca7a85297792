"""Abstentions and failures of a method on one trace, as records."""

from dataclasses import replace

from stepmark.errors import EngineError, UserError
from stepmark.records import Annotation, StepAnnotation, Trace
from stepmark.secrets import redact_urls

__all__ = ["abstention", "failure", "should_propagate", "validate"]


def abstention(trace: Trace, reason: str) -> Annotation:
    """Return an annotation in which every step is UNKNOWN, with the reason on each step."""
    steps = (StepAnnotation(rationale=reason),) * len(trace.steps)
    return Annotation(trace_id=trace.trace_id, method="", first_error=None, steps=steps)


def failure(trace: Trace, error: Exception) -> Annotation:
    """Return the record of a method's failure on a trace: no labels, and `error` set."""
    message = redact_urls(f"{type(error).__name__}: {error}")
    return replace(abstention(trace, ""), error=message)


def should_propagate(error: Exception) -> bool:
    """Return whether an error must stop the stage instead of becoming a trace's record.

    True for retryable engine errors and for errors that the user can fix.
    """
    # A rerun can succeed after either, so recording it would turn an outage into a stored failure.
    return isinstance(error, UserError) or (isinstance(error, EngineError) and error.retryable)


def validate(trace: Trace, annotation: Annotation) -> Annotation:
    """Return the annotation unchanged if it has one entry per step of the trace.

    Raises:
        ValueError: The number of step annotations differs from the number of steps, or a step is
            neutral: labelers read verdicts only, and would take the step as correct.
    """
    if annotation.neutral_steps:
        raise ValueError("neutral steps, which only imported annotations can have")
    if len(annotation.steps) != len(trace.steps):
        raise ValueError(f"{len(annotation.steps)} step annotations for {len(trace.steps)} steps")
    return annotation
