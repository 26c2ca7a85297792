"""Verdicts and soft labels of steps, computed from the outcomes of rollouts or a first error."""

from collections.abc import Sequence

from stepmark.records import NO_ERROR, StepAnnotation, Verdict

__all__ = ["monte_carlo_estimate", "value_drop", "verdict_from_first_error"]


def monte_carlo_estimate(outcomes: Sequence[Verdict]) -> StepAnnotation:
    """Estimate a prefix from the outcomes of its rollouts.

    Unknown outcomes are ignored. Hard label: CORRECT if any decided rollout is correct, INCORRECT
    if none is, UNKNOWN if no rollout is decided (as in Math-Shepherd, arXiv 2312.08935). Soft
    label: correct / decided, or None.
    """
    correct = outcomes.count(Verdict.CORRECT)
    decided = correct + outcomes.count(Verdict.INCORRECT)
    if decided == 0:
        return StepAnnotation(verdict=Verdict.UNKNOWN, unknowns=len(outcomes))
    return StepAnnotation(
        # One success is enough: it shows that the prefix can be completed to the correct answer.
        verdict=Verdict.CORRECT if correct else Verdict.INCORRECT,
        value=correct / decided,
        successes=correct,
        trials=decided,
        unknowns=len(outcomes) - decided,
    )


def verdict_from_first_error(index: int, sound_steps: int, first_error: int | None) -> Verdict:
    """Return the verdict on one step of a trace whose first error was searched for.

    Args:
        index: The index of the step.
        sound_steps: The number of leading steps that are shown to be correct.
        first_error: The index of the first error; None or -1 when there is none to name.

    Returns:
        CORRECT for a sound step, INCORRECT for the first error, UNKNOWN for every other step. A
        search for the first error does not decide the steps after it.
    """
    if index < sound_steps:
        return Verdict.CORRECT
    if index == first_error:
        return Verdict.INCORRECT
    return Verdict.UNKNOWN


def value_drop(values: Sequence[float | None], first_error: int) -> float:
    """Return how far a method's soft labels drop at its first error, in [0, 1].

    Args:
        values: The soft label of each step; None where the method has none.
        first_error: The index of the first error, or -1 for no error.

    Returns:
        The value before the first error minus the value at it. Without an error, the smallest
        value. Missing values count as 1 before the error and as 0 at it.
    """
    if first_error == NO_ERROR:
        return min((value for value in values if value is not None), default=1.0)
    value_before: float | None = None
    if first_error > 0:
        value_before = values[first_error - 1]
    if value_before is None:
        value_before = 1.0
    value_after = values[first_error] or 0.0
    # A method can name a first error at which its own value rises: the drop is then zero.
    return max(0.0, value_before - value_after)
