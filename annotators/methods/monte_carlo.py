"""Monte Carlo estimation: a step is as good as the solutions that can still be written after it (Math-Shepherd)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from annotators.base import SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.early_stopping import sample_until_correct
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict, first_error_of

__all__ = ["MonteCarlo"]

IMPLIED = "implied: a rollout from a later step came out right, and continues this one"


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """`rollouts` completions from every prefix (Wang et al. 2023, arXiv 2312.08935, section 3.3; K = 8).

    The soft label of step t is the share of right rollouts from the prefix that ends with it; the hard label is correct when any of them
    is right. The last step's value is the trace's own outcome. Costs rollouts * (steps - 1) completions a trace.

    `stop_early = true` buys hard labels only: a prefix is asked in growing waves until a rollout is right, and a right one is a completion
    of every earlier prefix too, whose probes then end, their open requests cancelled. Such a step is correct by implication, also where
    its own rollouts would all have failed, which the paper would call an error. There is no soft label of a correct step but the last.
    Labels do not depend on timing; how many rollouts were bought for implied steps does.
    """

    rollouts: SampleCount = 8
    stop_early: bool = False

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """All prefixes at once: their rollouts do not depend on each other."""
        if problem.answer is None:
            return abstention(trace, "no reference answer to grade rollouts with")
        prefixes = range(1, len(trace.steps))
        ask = self._first_rights if self.stop_early else self._values
        estimates = await ask(context, prefixes)
        steps: Sequence[StepAnnotation] = (*estimates, monte_carlo_estimate([trace.outcome]))
        first_error = first_error_of([step.verdict for step in steps])
        return Annotation(
            trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
        )

    async def _values(
        self, context: AnnotationContext, prefixes: Sequence[int]
    ) -> Sequence[StepAnnotation]:
        return await gather_or_cancel(self._value(context, prefix) for prefix in prefixes)

    async def _value(self, context: AnnotationContext, prefix: int) -> StepAnnotation:
        rollouts = await context.rollouts(prefix, self.rollouts)
        return monte_carlo_estimate([rollout.outcome for rollout in rollouts])

    async def _first_rights(
        self, context: AnnotationContext, prefixes: Sequence[int]
    ) -> Sequence[StepAnnotation]:
        """Hard labels; the longest prefixes are asked first, since they are the shortest to write and what they prove spares the others.

        Only what a longer prefix has proven is ever cancelled, so the longest that is proven, and all behind it, always end by themselves.
        """

        async def probe(prefix: int) -> StepAnnotation:
            found = await sample_until_correct(context, prefix, self.rollouts)
            if found.verdict is Verdict.CORRECT:
                for shorter in prefixes[: prefixes.index(prefix)]:
                    probes[shorter].cancel()
            return found

        async with asyncio.TaskGroup() as group:
            probes = {prefix: group.create_task(probe(prefix)) for prefix in reversed(prefixes)}
        found = [
            None if probes[prefix].cancelled() else probes[prefix].result() for prefix in prefixes
        ]
        proven = max(
            (place for place, step in enumerate(found) if step and step.verdict is Verdict.CORRECT),
            default=0,
        )
        implied = StepAnnotation(verdict=Verdict.CORRECT, rationale=IMPLIED)
        return [
            implied if step is None or place < proven else step for place, step in enumerate(found)
        ]
