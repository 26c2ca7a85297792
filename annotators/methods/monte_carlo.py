"""Monte Carlo estimation: the value of a step is the share of its completions that are correct."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from annotators.base import CostBound, SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.early_stopping import sample_until_correct
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict, first_error_of

__all__ = ["MonteCarlo"]

IMPLIED_RATIONALE = "implied: a correct rollout from a later step also completes this one"
"""The rationale of a step that is labelled by the rollouts of a later step."""


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """`rollouts` completions from every prefix (Math-Shepherd; Wang et al. 2023, arXiv 2312.08935).

    Section 3.3 of the paper, with K = 8. The soft label of step t is the share of correct rollouts
    from the prefix that ends with step t. Its hard label is correct when any of these rollouts is
    correct. The value of the last step is the outcome of the trace itself. The cost of a trace is
    rollouts * (steps - 1) completions.

    `stop_early = true` computes hard labels only. Each prefix is sampled in growing batches until a
    rollout is correct. A correct rollout also completes every earlier prefix, so their open
    requests are cancelled and their steps are labelled correct by implication. In the paper such
    steps are incorrect if all rollouts from their prefix fail. Only the last step and incorrect
    steps have a soft label. Labels do not depend on timing, but the number of rollouts that are
    sampled for implied steps does.
    """

    rollouts: SampleCount = 8
    """K, the completions per prefix."""
    stop_early: bool = False
    """Hard labels only, in growing waves until a rollout is correct."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return `rollouts` from every prefix but the empty one and the whole trace."""
        del judges
        prefixes = sum(max(0, count - 1) for count in steps)
        return CostBound(rollouts=self.rollouts * prefixes)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Estimate all prefixes concurrently: their rollouts are independent of each other."""
        if problem.answer is None:
            return abstention(trace, "no reference answer to grade rollouts with")
        # The empty prefix ends with no step, and nothing is left to sample after the last one.
        prefixes = range(1, len(trace.steps))
        if self.stop_early:
            estimates = await self._hard_labels(context, prefixes)
        else:
            estimates = await gather_or_cancel(
                self._estimate(context, prefix) for prefix in prefixes
            )
        steps = (*estimates, monte_carlo_estimate([trace.outcome]))
        first_error = first_error_of([step.verdict for step in steps])
        return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=steps)

    async def _estimate(self, context: AnnotationContext, prefix: int) -> StepAnnotation:
        rollouts = await context.rollouts(prefix, self.rollouts)
        return monte_carlo_estimate([rollout.outcome for rollout in rollouts])

    async def _hard_labels(
        self, context: AnnotationContext, prefixes: range
    ) -> Sequence[StepAnnotation]:
        """Return the hard label of every prefix and cancel requests that became superfluous.

        A probe is cancelled only when a longer prefix has a correct rollout. The probes of the
        longest prefix that has one, and of all longer prefixes, therefore always complete.
        """

        async def probe(prefix: int) -> StepAnnotation:
            estimate = await sample_until_correct(context, prefix, self.rollouts)
            if estimate.verdict is Verdict.CORRECT:
                for shorter_prefix in range(prefixes.start, prefix):
                    tasks[shorter_prefix].cancel()
            return estimate

        tasks = dict[int, asyncio.Task[StepAnnotation]]()
        async with asyncio.TaskGroup() as group:
            # The longest prefixes start first: their rollouts are the shortest, and a correct one
            # makes the probes of all shorter prefixes superfluous.
            for prefix in reversed(prefixes):
                tasks[prefix] = group.create_task(probe(prefix))

        labels = list[StepAnnotation]()
        implied = False
        for prefix in reversed(prefixes):
            if implied:
                # The probe's own result, if it has one, depends on timing and is not used.
                labels.append(StepAnnotation(verdict=Verdict.CORRECT, rationale=IMPLIED_RATIONALE))
                continue
            label = tasks[prefix].result()
            implied = label.verdict is Verdict.CORRECT
            labels.append(label)
        return labels[::-1]
