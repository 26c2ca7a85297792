"""Answer likelihood: the probability of the reference answer drops at the first error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from annotators.base import CostBound
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.estimates import verdict_from_first_error
from annotators.failures import abstention
from stepmark.errors import ConfigError
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["AnswerLikelihood"]

PLACEHOLDER = "{answer}"
PLAIN_PROBE = "The answer is {answer}."
# In this format `\boxed{` and `}` are text and only the inner {answer} is the placeholder.
BOXED_PROBE = "The answer is \\boxed{{answer}}."


@dataclass(frozen=True, kw_only=True)
class AnswerLikelihood:
    """Score the reference answer after every prefix: one scoring call each, no generated tokens.

    The value of a step is the geometric mean of the token probabilities of the reference answer
    after it. The rationale is its change in nats per token.

    In an incorrect trace the largest drop marks the first error if it is at least `fall` nats per
    token; all other steps are UNKNOWN. A correct trace reaches the reference, so it gets values but
    no first error. Traces with an unknown outcome get no first error either. The method depends on
    a model that can guess the answer from a partial solution. For a model that cannot, such as the
    pocket model, the likelihood only follows the numbers that a step copies.

    `probe` is the text that is appended to a prefix, with the placeholder {answer}. The text after
    the placeholder is scored too, because it distinguishes 14 from 146. The default is
    `BOXED_PROBE` for traces that box their answer and `PLAIN_PROBE` for all others.
    """

    probe: str = ""
    r"""The forced text with the placeholder `{answer}`.

    Empty for "The answer is {answer}.", or the boxed form where the trace uses `\boxed`.
    """
    fall: Annotated[float, Field(gt=0)] = 3.0
    """The smallest drop, in nats per token, that marks a first error."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    def __post_init__(self) -> None:
        if self.probe and self.probe.count(PLACEHOLDER) != 1:
            raise ConfigError(
                f"annotators.answer_likelihood: probe = {self.probe!r}"
                f" must contain {PLACEHOLDER} exactly once"
            )

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return one scoring call for every prefix, the empty one and the whole trace included."""
        del judges
        return CostBound(scores=sum(count + 1 for count in steps))

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Score all prefixes concurrently, from the empty one to the whole trace."""
        if not problem.answer:
            return abstention(trace, "no reference answer to probe for")
        reference = problem.answer
        log_likelihoods = await gather_or_cancel(
            self._log_likelihood(reference, trace, prefix, context)
            for prefix in range(len(trace.steps) + 1)
        )
        changes = [after - before for before, after in pairwise(log_likelihoods)]
        first_error: int | None = None
        if trace.outcome is Verdict.INCORRECT:
            first_error = self._largest_drop(changes)
        steps = list[StepAnnotation]()
        for index, change in enumerate(changes):
            steps.append(
                StepAnnotation(
                    verdict=verdict_from_first_error(index, sound_steps=0, first_error=first_error),
                    value=math.exp(log_likelihoods[index + 1]),
                    rationale=f"{change:+.3f} nats per token",
                )
            )
        return Annotation(
            trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
        )

    async def _log_likelihood(
        self, reference: str, trace: Trace, prefix_steps: int, context: AnnotationContext
    ) -> float:
        """Return the mean log-probability of the answer's tokens after a prefix, in nats."""
        opening, _, closing = (self.probe or _default_probe(trace)).partition(PLACEHOLDER)
        prefix = "".join(trace.steps[:prefix_steps])
        # The probe starts on a new line, so that it does not continue a sentence.
        if prefix and not prefix[-1].isspace():
            opening = "\n" + opening
        scored = await context.score(prefix_steps, opening, reference + closing)
        # Rounding in an engine can push the logarithm of a probability above zero.
        return min(0.0, math.fsum(scored.logprobs) / len(scored.logprobs))

    def _largest_drop(self, changes: Sequence[float]) -> int | None:
        """Return the index of the most negative change, or None if it is below the threshold."""
        lowest = min(changes)
        return changes.index(lowest) if lowest <= -self.fall else None


def _default_probe(trace: Trace) -> str:
    return BOXED_PROBE if "\\boxed" in "".join(trace.steps) else PLAIN_PROBE
