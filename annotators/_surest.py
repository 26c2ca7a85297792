"""The label that a posterior over the first error makes: its most likely one, where it is likely enough."""

from collections.abc import Mapping

from stepmark.records import NO_ERROR, Label, StepLabel, Trace, Verdict

__all__ = ["surest", "unlabelled"]


def surest(trace: Trace, posterior: Mapping[int, float], threshold: float, sources: tuple[str, ...]) -> Label:
    """Keep the most likely first error if its chance is at least `threshold`; a trace that is not kept has its posterior too.

    A step's value is the chance that neither it nor a step before it is wrong.
    """
    first_error, confidence = max(posterior.items(), key=lambda item: item[1])
    kept = confidence >= threshold
    last = len(trace.steps) if first_error == NO_ERROR else first_error
    steps = list[StepLabel]()
    for index in range(len(trace.steps)):
        value = 1 - sum(chance for place, chance in posterior.items() if 0 <= place <= index)
        verdict = (Verdict.INCORRECT if index == first_error else Verdict.CORRECT) if kept and index <= last else Verdict.UNKNOWN
        steps.append(StepLabel(label=verdict, value=min(1.0, max(0.0, value))))
    return Label(
        trace_id=trace.trace_id,
        first_error=first_error,
        steps=tuple(steps),
        confidence=confidence,
        kept=kept,
        reason=f"posterior {confidence:.3f}" + ("" if kept else f", below {threshold:g}"),
        sources=sources,
    )


def unlabelled(trace: Trace, reason: str) -> Label:
    """What is undecided trains nothing."""
    steps = (StepLabel(),) * len(trace.steps)
    return Label(trace_id=trace.trace_id, first_error=None, steps=steps, confidence=None, kept=False, reason=reason, sources=())
