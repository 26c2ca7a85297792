"""What a search for the first error has found, as an annotation."""

from collections.abc import Mapping
from dataclasses import replace

from stepmark.records import NO_ERROR, Annotation, StepAnnotation, Trace, Verdict

__all__ = ["found"]


def found(
    trace: Trace, probes: Mapping[int, StepAnnotation], *, sound: int, unsound: int | None
) -> Annotation:
    """The annotation once the first `sound` steps are known to be right and the first `unsound` not to be (None: not known).

    `probes` are the estimates of the prefixes that were probed, by their number of steps.
    """
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        verdict = (
            Verdict.CORRECT
            if index < sound
            else Verdict.INCORRECT
            if index + 1 == unsound
            else Verdict.UNKNOWN
        )
        probe = probes.get(index + 1)
        steps.append(
            StepAnnotation(verdict=verdict) if probe is None else replace(probe, verdict=verdict)
        )
    decided = NO_ERROR if sound == len(trace.steps) else None
    first_error = unsound - 1 if unsound is not None else decided
    return Annotation(
        trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
    )
