"""Rollouts from a prefix, sampled only until one is correct, which decides the hard label."""

from dataclasses import replace

from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from stepmark.records import StepAnnotation, Verdict

__all__ = ["sample_until_correct"]


async def sample_until_correct(
    context: AnnotationContext, prefix_steps: int, max_rollouts: int
) -> StepAnnotation:
    """Return the hard label of a prefix, from at most `max_rollouts` rollouts.

    Rollouts are requested in batches of 1, 1, 2, 4, ... and no batch follows one that contains a
    correct rollout. All rollouts of a batch are counted, so the result depends on the sampled texts
    and never on the order in which the replies arrive.

    Returns:
        CORRECT without a soft label: a share that is counted until the first success is biased
        upwards. INCORRECT with the exact soft label 0, since all rollouts were sampled. UNKNOWN
        when no rollout was decided.
    """
    outcomes = list[Verdict]()
    while len(outcomes) < max_rollouts and Verdict.CORRECT not in outcomes:
        # Every batch doubles the number of rollouts: few requests in a row, and fewer than twice
        # as many rollouts as the first success needs.
        batch_size = min(max(len(outcomes), 1), max_rollouts - len(outcomes))
        rollouts = await context.rollouts(prefix_steps, batch_size)
        outcomes.extend(rollout.outcome for rollout in rollouts)
    estimate = monte_carlo_estimate(outcomes)
    if estimate.verdict is Verdict.CORRECT:
        return replace(estimate, value=None)
    return estimate
