"""Binary search for the first error: the step at which the Monte Carlo value drops to zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from annotators.base import CostBound, SampleCount
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.search.bisection import bisection_annotation
from annotators.search.early_stopping import sample_until_correct
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["BinarySearch"]


@dataclass(frozen=True, kw_only=True)
class BinarySearch:
    """Bisection with `rollouts` completions per probe (Luo et al. 2024, arXiv 2406.06592).

    Section 3.2 of the paper (OmegaPRM), with k = 8. It searches incorrect traces of problems that
    some sample solves: there the value of the empty prefix is above zero and that of the whole
    trace is zero. The cost of a trace is about rollouts * log2(steps) completions, instead of the
    rollouts * steps of Monte Carlo estimation.

    `right_answers = "search"` also searches traces with a correct answer for errors, which the
    paper does not. It first probes the prefix before the last step and bisects the trace only if
    this prefix has no correct rollout.

    `stop_early = true` samples each probe in growing batches until a rollout is correct. A probe
    that ends with a correct rollout has no soft label.
    """

    rollouts: SampleCount = 8
    """k, the completions per probe."""
    stop_early: bool = False
    """Sample a probe in growing waves and stop at the first correct rollout.

    The probe then has no value.
    """
    right_answers: Literal["skip", "search"] = "skip"
    """`search` also searches traces with a correct answer for a hidden wrong step: it probes
    the prefix before the last step, and bisects when nothing correct follows. The paper does
    not do this.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return `rollouts` for every probe of the bisections, as if all traces were wrong."""
        del judges
        probes = 0
        for count in steps:
            # The ceiling of the binary logarithm.
            bisection = max(0, count - 1).bit_length()
            if self.right_answers == "search" and count > 1:
                bisection = max(bisection, 1 + (count - 2).bit_length())
            probes += bisection
        return CostBound(rollouts=self.rollouts * probes)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Search the trace for its first error, or abstain if the search cannot locate one."""
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
        return await self._search_correct(trace, context)

    async def _search_correct(self, trace: Trace, context: AnnotationContext) -> Annotation:
        """Search a trace with a correct answer for an error before its last step."""
        all_steps = len(trace.steps)
        last_prefix = all_steps - 1
        if last_prefix == 0:
            # The only step reaches the correct answer, and no prefix is left to probe.
            return bisection_annotation(trace, {}, sound_prefix=all_steps, unsound_prefix=None)
        estimate = await self._probe(context, last_prefix)
        probes = {last_prefix: estimate}
        if estimate.verdict is Verdict.UNKNOWN:
            return bisection_annotation(trace, probes, sound_prefix=0, unsound_prefix=None)
        if estimate.verdict is Verdict.CORRECT:
            return bisection_annotation(trace, probes, sound_prefix=all_steps, unsound_prefix=None)
        return await self._bisect(trace, context, last_prefix, probes)

    async def _bisect(
        self,
        trace: Trace,
        context: AnnotationContext,
        unsound: int,
        probes: dict[int, StepAnnotation],
    ) -> Annotation:
        """Locate the first error between the empty prefix and the prefix of `unsound` steps.

        Args:
            trace: The trace.
            context: Samples the rollouts.
            unsound: The length of a prefix that contains an error.
            probes: The estimates so far by prefix length; those of the search are added.
        """
        # Invariant: the prefix of `sound` steps can be completed, that of `unsound` steps cannot.
        sound = 0
        while unsound - sound > 1:
            middle = (sound + unsound) // 2
            estimate = await self._probe(context, middle)
            probes[middle] = estimate
            if estimate.verdict is Verdict.UNKNOWN:
                # No rollout was decided, so neither half can be chosen.
                return bisection_annotation(trace, probes, sound_prefix=sound, unsound_prefix=None)
            if estimate.verdict is Verdict.CORRECT:
                sound = middle
            else:
                unsound = middle
        return bisection_annotation(trace, probes, sound_prefix=sound, unsound_prefix=unsound)

    async def _probe(self, context: AnnotationContext, prefix: int) -> StepAnnotation:
        if self.stop_early:
            return await sample_until_correct(context, prefix, self.rollouts)
        rollouts = await context.rollouts(prefix, self.rollouts)
        return monte_carlo_estimate([rollout.outcome for rollout in rollouts])
