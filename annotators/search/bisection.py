"""The annotation that results from a bisection for the first error."""

from collections.abc import Mapping
from dataclasses import replace

from annotators.estimates import verdict_from_first_error
from stepmark.records import NO_ERROR, Annotation, StepAnnotation, Trace

__all__ = ["bisection_annotation"]


def bisection_annotation(
    trace: Trace,
    probes: Mapping[int, StepAnnotation],
    *,
    sound_prefix: int,
    unsound_prefix: int | None,
) -> Annotation:
    """Return the annotation of a trace after a bisection for its first error.

    Args:
        trace: The trace that was searched.
        probes: The Monte Carlo estimates of the probed prefixes, by prefix length in steps.
        sound_prefix: The length of the longest prefix that is shown to contain no error.
        unsound_prefix: The length of the prefix that ends with the first error; None if the first
            error was not located.

    Returns:
        An annotation whose step values and counts are those of the probes. The steps of the sound
        prefix are CORRECT, the first error is INCORRECT, all other steps are UNKNOWN.
    """
    first_error: int | None = None
    if unsound_prefix is not None:
        first_error = unsound_prefix - 1
    elif sound_prefix == len(trace.steps):
        first_error = NO_ERROR
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        # The estimate of a step is that of the prefix which ends with it.
        estimate = probes.get(index + 1, StepAnnotation())
        verdict = verdict_from_first_error(index, sound_prefix, first_error)
        # The verdict of the probe is replaced: a prefix that contains the first error is INCORRECT
        # as a whole, which does not decide the last step of a longer prefix.
        steps.append(replace(estimate, verdict=verdict))
    return Annotation(
        trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
    )
