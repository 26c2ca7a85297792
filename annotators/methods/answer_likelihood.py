"""Answer-likelihood probe: after a wrong step the model holds the reference answer less likely than before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.failures import abstention
from stepmark.errors import ConfigError
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["AnswerLikelihood"]

ANSWER = "{answer}"
PLAIN = "The answer is {answer}."
BOXED = "The answer is \\boxed{{answer}}."


@dataclass(frozen=True, kw_only=True)
class AnswerLikelihood:
    """Force the answer after every prefix and read how likely the model holds the reference: one scoring call, no token written.

    The likelihood of an answer after a reasoning is the reward of VeriFree (Zhou et al. 2025, arXiv 2505.21493: the product over its
    tokens) and RLPR (Yu et al. 2025, arXiv 2506.18254: their mean, since a product falls with every token); SPAE (Wu et al. 2026,
    arXiv 2601.03823) probes it after each step. A step's value is the geometric mean of the tokens' probabilities after it: of any
    length as RLPR's, and its logarithm, the log-likelihood a token, adds up as VeriFree's. On the pocket model's wrong traces its sharpest
    fall is the first error more often than that of the arithmetic mean. The rationale is the step's change in nats a token.

    In a wrong trace the sharpest fall, if it is at least `fall` nats a token, marks the first error; all else is undecided. A right trace
    has got to the reference: its values are kept, and nothing is named. The method tells the more, the better the model can guess the
    answer from half a solution: where it cannot, as the pocket model, what falls is a number that was copied.

    `probe` is the forced text, with a place {answer}; what stands behind it is scored too, as it tells 14 from 146. Left empty it is
    `BOXED` where the trace boxes its answer, else `PLAIN`.
    """

    probe: str = ""
    fall: Annotated[float, Field(gt=0)] = 3.0

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    def __post_init__(self) -> None:
        if self.probe and self.probe.count(ANSWER) != 1:
            raise ConfigError(
                f"annotators.answer_likelihood: probe = {self.probe!r}: write {ANSWER} in it, once"
            )

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """All prefixes at once, the empty one and the whole trace included."""
        if not problem.answer:
            return abstention(trace, "no reference answer to probe for")
        reference, prefixes = problem.answer, range(len(trace.steps) + 1)
        likelihoods = await gather_or_cancel(
            self._likelihood(reference, trace, prefix, context) for prefix in prefixes
        )
        changes = [after - before for before, after in pairwise(likelihoods)]
        first_error = self._sharpest(changes) if trace.outcome is Verdict.INCORRECT else None
        steps = tuple(
            StepAnnotation(
                verdict=Verdict.INCORRECT if index == first_error else Verdict.UNKNOWN,
                value=math.exp(likelihood),
                rationale=f"{change:+.3f} nats a token",
            )
            for index, (likelihood, change) in enumerate(zip(likelihoods[1:], changes, strict=True))
        )
        return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=steps)

    async def _likelihood(
        self, reference: str, trace: Trace, prefix: int, context: AnnotationContext
    ) -> float:
        """The mean log-probability of the tokens of the reference, and of what closes it."""
        opening, _, closing = (self.probe or _form(trace)).partition(ANSWER)
        written = "".join(trace.steps[:prefix])
        line_break = "\n" if written and not written[-1].isspace() else ""
        logprobs = (await context.score(prefix, line_break + opening, reference + closing)).logprobs
        return min(0.0, math.fsum(logprobs) / len(logprobs))

    def _sharpest(self, changes: Sequence[float]) -> int | None:
        lowest = min(changes)
        return changes.index(lowest) if lowest <= -self.fall else None


def _form(trace: Trace) -> str:
    return BOXED if "\\boxed" in "".join(trace.steps) else PLAIN
