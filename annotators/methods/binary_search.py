"""Binary search for the first error: it lies where the Monte Carlo value falls to zero (OmegaPRM)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from annotators.base import SampleCount
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.bisection import found
from annotators.search.early_stopping import sample_until_correct
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["BinarySearch"]


@dataclass(frozen=True, kw_only=True)
class BinarySearch:
    """Bisection with `rollouts` completions a probe (Luo et al. 2024, arXiv 2406.06592, section 3.2; k = 8).

    Searched are wrong traces of solvable problems (some sample is right): there the empty prefix has a value above zero and the whole
    trace has none. Costs rollouts * log2(steps) completions a trace instead of Monte Carlo's rollouts * steps.

    `right_answers = "search"` looks for flawed positives too, which the paper does not: the prefix before the last step is probed first,
    and only where nothing right follows it any more is the trace bisected.

    `stop_early = true` asks a probe in growing waves and goes on at the first right rollout, which decides it; such a probe has no value.
    """

    rollouts: SampleCount = 8
    stop_early: bool = False
    right_answers: Literal["skip", "search"] = "skip"

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Decide whether the trace can be searched, and search it."""
        if problem.answer is None:
            return abstention(trace, "no reference answer to grade rollouts with")
        if trace.outcome is Verdict.UNKNOWN:
            return abstention(trace, f"outcome unknown: {trace.outcome_reason}")
        if Verdict.CORRECT not in context.siblings:
            return abstention(trace, "no sample solves the problem")
        if trace.outcome is Verdict.INCORRECT:
            return await self._bisect(trace, context, len(trace.steps), {})
        if self.right_answers == "skip":
            return abstention(trace, "right answer, not searched")
        return await self._search_right(trace, context)

    async def _search_right(self, trace: Trace, context: AnnotationContext) -> Annotation:
        last = len(trace.steps) - 1
        if last < 1:
            return found(trace, {}, sound=len(trace.steps), unsound=None)
        probe = await self._probe(context, last)
        if probe.verdict is Verdict.UNKNOWN:
            return found(trace, {last: probe}, sound=0, unsound=None)
        if probe.verdict is Verdict.CORRECT:
            return found(trace, {last: probe}, sound=len(trace.steps), unsound=None)
        return await self._bisect(trace, context, last, {last: probe})

    async def _bisect(
        self,
        trace: Trace,
        context: AnnotationContext,
        unsound: int,
        probes: Mapping[int, StepAnnotation],
    ) -> Annotation:
        """Prefix 0 is sound and prefix `unsound` is not; halve what lies between until they are neighbours."""
        sound, probed = 0, dict(probes)
        while unsound - sound > 1:
            middle = (sound + unsound) // 2
            probe = probed[middle] = await self._probe(context, middle)
            if probe.verdict is Verdict.UNKNOWN:
                return found(trace, probed, sound=sound, unsound=None)
            if probe.verdict is Verdict.CORRECT:
                sound = middle
            else:
                unsound = middle
        return found(trace, probed, sound=sound, unsound=unsound)

    async def _probe(self, context: AnnotationContext, prefix: int) -> StepAnnotation:
        if self.stop_early:
            return await sample_until_correct(context, prefix, self.rollouts)
        return monte_carlo_estimate(
            [rollout.outcome for rollout in await context.rollouts(prefix, self.rollouts)]
        )
