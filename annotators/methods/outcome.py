"""Outcome: every step has the verdict of the final answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from annotators.base import CostBound
from annotators.context import AnnotationContext
from annotators.failures import abstention
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Label all steps by the outcome: the weakest baseline, without cost.

    The value of a step is 1 in a trace with a correct answer and 0 in one with an incorrect answer.
    An unknown outcome decides nothing. These are the labels of outcome reward models, spread over
    the steps: sound steps before an error are labelled incorrect, and so is the first step.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return no cost: the traces are graded already."""
        del steps, judges
        return CostBound()

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Return the outcome as the verdict of every step."""
        if not trace.steps or trace.outcome is Verdict.UNKNOWN:
            return abstention(trace, trace.outcome_reason)
        is_correct = trace.outcome is Verdict.CORRECT
        step = StepAnnotation(verdict=trace.outcome, value=float(is_correct))
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=NO_ERROR if is_correct else 0,
            steps=(step,) * len(trace.steps),
        )
