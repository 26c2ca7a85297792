"""Monte Carlo estimation: a step is as good as the solutions that can still be written after it (Math-Shepherd)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from annotators.base import Samples, Tools, estimate, together, undecided
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, first_error_of

__all__ = ["MonteCarlo"]


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """`rollouts` completions from every prefix (Wang et al. 2023, arXiv 2312.08935, section 3.3; K = 8).

    The soft label of step t is the share of right rollouts from the prefix that ends with it; the hard label is correct when any of them
    is right. The last step's value is the trace's own outcome. Costs rollouts * (steps - 1) completions a trace.
    """

    rollouts: Samples = 8

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(self, problem: Problem, trace: Trace, tools: Tools) -> Annotation:
        """All prefixes at once: their rollouts do not depend on each other."""
        if problem.answer is None:
            return undecided(trace, "no reference answer to grade rollouts with")
        prefixes = range(1, len(trace.steps))
        estimates = await together(self._value(tools, prefix) for prefix in prefixes)
        steps: Sequence[StepAnnotation] = (*estimates, estimate([trace.outcome]))
        first_error = first_error_of([step.verdict for step in steps])
        return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps))

    async def _value(self, tools: Tools, prefix: int) -> StepAnnotation:
        rollouts = await tools.rollouts(prefix, self.rollouts)
        return estimate([rollout.outcome for rollout in rollouts])
