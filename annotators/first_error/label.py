"""Build a training label from a posterior over the first error."""

from collections.abc import Mapping

from stepmark.records import NO_ERROR, Label, StepLabel, Trace, Verdict

__all__ = ["abstain", "label_from_posterior"]


def label_from_posterior(
    trace: Trace, posterior: Mapping[int, float], threshold: float, sources: tuple[str, ...]
) -> Label:
    """Label a trace with its most likely first error.

    Args:
        trace: The trace.
        posterior: The probability of each first error; the key `NO_ERROR` means none.
        threshold: The label is kept if the most likely first error has at least this probability.
        sources: The methods that the posterior depends on.

    Returns:
        A label whose step values are the probabilities that the step and all earlier ones are
        right. If it is not kept, it has these values too, but every step is UNKNOWN.
    """
    first_error, confidence = max(posterior.items(), key=lambda item: item[1])
    kept = confidence >= threshold
    error_probabilities = [posterior.get(index, 0.0) for index in range(len(trace.steps))]
    steps = list[StepLabel]()
    for index in range(len(trace.steps)):
        verdict = Verdict.UNKNOWN
        if kept:
            verdict = _verdict_of(index, first_error)
        value = 1 - sum(error_probabilities[: index + 1])
        # Rounding may leave the sum slightly outside [0, 1].
        steps.append(StepLabel(label=verdict, value=min(1.0, max(0.0, value))))
    reason = f"posterior {confidence:.3f}"
    if not kept:
        reason += f", below {threshold:g}"
    return Label(
        trace_id=trace.trace_id,
        first_error=first_error,
        steps=tuple(steps),
        confidence=confidence,
        kept=kept,
        reason=reason,
        sources=sources,
    )


def abstain(trace: Trace, reason: str, sources: tuple[str, ...] = ()) -> Label:
    """Return a label that is not kept and has no step verdicts, first error or confidence."""
    return Label(
        trace_id=trace.trace_id,
        first_error=None,
        steps=(StepLabel(),) * len(trace.steps),
        confidence=None,
        kept=False,
        reason=reason,
        sources=sources,
    )


def _verdict_of(step: int, first_error: int) -> Verdict:
    if step == first_error:
        return Verdict.INCORRECT
    if first_error == NO_ERROR or step < first_error:
        return Verdict.CORRECT
    # Steps after the first error have no agreed meaning, so no model is trained on them.
    return Verdict.UNKNOWN
