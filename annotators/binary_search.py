"""Binary search for the first error: it lies where the Monte Carlo value falls to zero (OmegaPRM)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from annotators._waves import until_right
from annotators.base import Samples, Tools, estimate, undecided
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict

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

    rollouts: Samples = 8
    stop_early: bool = False
    right_answers: Literal["skip", "search"] = "skip"

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(self, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
        """Decide whether the trace can be searched, and search it."""
        if problem.answer is None:
            return undecided(trace, "no reference answer to grade rollouts with")
        if trace.outcome is Verdict.UNKNOWN:
            return undecided(trace, f"outcome unknown: {trace.outcome_reason}")
        if Verdict.CORRECT not in tools.siblings:
            return undecided(trace, "no sample solves the problem")
        if trace.outcome is Verdict.INCORRECT:
            return await self._bisect(trace, tools, len(trace.steps), {})
        if self.right_answers == "skip":
            return undecided(trace, "right answer, not searched")
        return await self._search_right(trace, tools)

    async def _search_right(self, trace: Trace, tools: Tools) -> Annotation:
        last = len(trace.steps) - 1
        if last < 1:
            return _found(trace, {}, sound=len(trace.steps), unsound=None)
        probe = await self._probe(tools, last)
        if probe.verdict is Verdict.UNKNOWN:
            return _found(trace, {last: probe}, sound=0, unsound=None)
        if probe.verdict is Verdict.CORRECT:
            return _found(trace, {last: probe}, sound=len(trace.steps), unsound=None)
        return await self._bisect(trace, tools, last, {last: probe})

    async def _bisect(self, trace: Trace, tools: Tools, unsound: int, probes: Mapping[int, StepAnnotation]) -> Annotation:
        """Prefix 0 is sound and prefix `unsound` is not; halve what lies between until they are neighbours."""
        sound, probed = 0, dict(probes)
        while unsound - sound > 1:
            middle = (sound + unsound) // 2
            probe = probed[middle] = await self._probe(tools, middle)
            if probe.verdict is Verdict.UNKNOWN:
                return _found(trace, probed, sound=sound, unsound=None)
            if probe.verdict is Verdict.CORRECT:
                sound = middle
            else:
                unsound = middle
        return _found(trace, probed, sound=sound, unsound=unsound)

    async def _probe(self, tools: Tools, prefix: int) -> StepAnnotation:
        if self.stop_early:
            return await until_right(tools, prefix, self.rollouts)
        return estimate([rollout.outcome for rollout in await tools.rollouts(prefix, self.rollouts)])


def _found(trace: Trace, probes: Mapping[int, StepAnnotation], *, sound: int, unsound: int | None) -> Annotation:
    """The annotation once the first `sound` steps are known to be right and the first `unsound` not to be (None: not known)."""
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        probe = probes.get(index + 1, StepAnnotation())
        verdict = Verdict.CORRECT if index < sound else Verdict.INCORRECT if index + 1 == unsound else Verdict.UNKNOWN
        steps.append(replace(probe, verdict=verdict))
    decided = NO_ERROR if sound == len(trace.steps) else None
    first_error = unsound - 1 if unsound is not None else decided
    return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps))
