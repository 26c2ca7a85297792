"""Rollouts bought in waves until one comes out right: all that a hard label needs."""

from dataclasses import replace

from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from stepmark.records import StepAnnotation, Verdict

__all__ = ["sample_until_correct"]


async def sample_until_correct(
    context: AnnotationContext, prefix_steps: int, most: int
) -> StepAnnotation:
    """The hard label of a prefix from at most `most` rollouts, asked for 1, 1, 2, 4, … at a time; no more after a wave with a right one.

    Whole waves count, so what is bought depends on what the model says and never on which reply comes first. Where one is right there
    is no value: a share that was counted until the first success is too high. Where none is, all were bought, and the value is exact.
    """
    outcomes = list[Verdict]()
    while len(outcomes) < most and Verdict.CORRECT not in outcomes:
        wave = min(max(len(outcomes), 1), most - len(outcomes))
        outcomes += [rollout.outcome for rollout in await context.rollouts(prefix_steps, wave)]
    return _without_share(monte_carlo_estimate(outcomes))


def _without_share(found: StepAnnotation) -> StepAnnotation:
    return replace(found, value=None) if found.verdict is Verdict.CORRECT else found
