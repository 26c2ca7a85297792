"""Adaptive search: keep the posterior over the first error, and buy the completion that tells most about it for its tokens."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from annotators._first_error import (
    OTHER,
    RIGHT,
    SAME,
    Belief,
    Observation,
    Weights,
    default,
    fitted,
    told,
)
from annotators._scales import Scales
from annotators._signs import Floats, signs_of
from annotators.base import Annotator, SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from stepmark.errors import EngineError
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["AdaptiveSearch"]

LETTERS_PER_TOKEN = 3.0
"""Of text whose tokens nobody counted."""
LIKELY = 0.5
"""The chance that the most likely first error must have for steps to be called right or wrong."""
REQUEST_TOKENS = 10.0
"""What a request costs beside the tokens it generates, in such tokens: its prompt is read, its answer graded and stored."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveSearch:
    """Search every trace for its first error, wrong answers and right ones, at a price that follows the doubt.

    The posterior over the first error (see `_first_error`) starts from what costs nothing: how the problem's other traces and the rollouts
    from them ended, those that begin as this one does counting from where they leave it, and what the methods in `evidence` say. Then the
    completion of greatest expected information per expected token is bought, `batch` at once, until the most likely first error has
    `confidence`, or a thousand tokens are expected to tell less than `worth` nats, or the trace has had `budget` rollouts.

    What the posterior goes by is learned from each shard of the run: `pilots` wrong traces are searched first, by what is believed of
    models in general. Traces of one problem are searched in turn, so that each knows what the ones before it have bought.

    `first_error` is the most likely one and `confidence` its chance; `posterior` has all; a step's value is the chance that neither it nor
    a step before it is wrong. No paper has this method; to choose the next experiment by expected information is Lindley's (1956).
    """

    evidence: tuple[str, ...] = ()
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    worth: Annotated[float, Field(ge=0)] = 0.5
    budget: Annotated[int, Field(ge=0)] = 32
    batch: SampleCount = 1
    pilots: Annotated[int, Field(ge=0)] = 24

    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    @cached_property
    def scales(self) -> Scales:
        """What all shards of a run are weighed on."""
        return Scales()

    async def fit(self, shard: Sequence[AnnotationContext]) -> Annotator:
        """The search as these traces teach it: by what is known of all of them, and by what the pilots buy."""
        known = [context for context in shard if not _unsearchable(context)]
        untaught = _Search(
            self, default(len(self.evidence)), await asyncio.to_thread(_verbatim, known)
        )
        wrong = sorted(
            (context for context in known if context.trace.outcome is Verdict.INCORRECT),
            key=lambda context: context.trace.trace_id,
        )
        await gather_or_cancel(map(untaught.scout, wrong[: self.pilots]))
        return await asyncio.to_thread(untaught.taught, wrong)

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Search one trace by what is believed of models in general."""
        return await _Search(self, default(len(self.evidence)), _verbatim([context])).annotate(
            problem, trace, context
        )


@dataclass(frozen=True)
class _Search:
    rules: AdaptiveSearch
    weights: Weights
    verbatim: float

    needs: ClassVar[frozenset[str]] = AdaptiveSearch.needs

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Buy until it is no longer worth it, and tell the posterior."""
        if reason := _unsearchable(context):
            return abstention(trace, reason)
        return self._annotation(context, await self._searched(context))

    def taught(self, wrong: Sequence[AnnotationContext]) -> "_Search":
        """The same search, by what is known of these traces: of right ones an error that did no harm is too rare to learn from."""
        beliefs = (_belief(context, self.rules.evidence, self.verbatim) for context in wrong)
        return replace(self, weights=fitted(beliefs, len(self.rules.evidence)))

    async def scout(self, context: AnnotationContext) -> None:
        """Buy; a request that the engine refuses ends it, and will be told of when the trace is annotated."""
        try:
            await self._searched(context)
        except EngineError as error:
            if error.retryable:
                raise

    async def _searched(self, context: AnnotationContext) -> Floats:
        """The posterior in the end."""
        async with context.group.turn, self.rules.scales.searching():
            belief, costs = (
                _belief(context, self.rules.evidence, self.verbatim),
                _tokens_left(context.trace),
            )
            while True:
                chance, gains = await self.rules.scales.weigh(belief, self.weights)
                worth = 1000 * gains / costs
                prefix, left = (
                    int(worth.argmax()),
                    self.rules.budget - len(context.sampled_rollouts),
                )
                if (
                    chance.max() >= self.rules.confidence
                    or worth[prefix] < self.rules.worth
                    or left <= 0
                ):
                    return chance
                for rollout in await context.rollouts(prefix, min(self.rules.batch, left)):
                    for seen in _seen(
                        context.trace, prefix, rollout.text, rollout.outcome, rollout.final_answer
                    ):
                        belief.see(seen)

    def _annotation(self, context: AnnotationContext, chance: Floats) -> Annotation:
        trace, best, posterior = context.trace, int(chance.argmax()), tuple(chance.tolist())
        called = (
            best if posterior[best] >= LIKELY else -1
        )  # up to here steps are called right or wrong
        outcomes = defaultdict[int, list[Verdict]](list)
        for rollout in context.sampled_rollouts:
            outcomes[rollout.prefix_steps].append(rollout.outcome)
        steps = list[StepAnnotation]()
        for index, wrong in enumerate(accumulate(posterior[:-1])):
            own = monte_carlo_estimate(outcomes[index + 1])
            verdict = (
                Verdict.UNKNOWN
                if index > called
                else Verdict.CORRECT
                if index < called
                else Verdict.INCORRECT
            )
            value = min(1.0, max(0.0, 1 - wrong))
            steps.append(
                StepAnnotation(
                    verdict=verdict,
                    value=value,
                    successes=own.successes,
                    trials=own.trials,
                    unknowns=own.unknowns,
                )
            )
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=NO_ERROR if best == len(trace.steps) else best,
            confidence=posterior[best],
            steps=tuple(steps),
            posterior=posterior,
            learned=self._learned,
        )

    @cached_property
    def _learned(self) -> str:
        return json.dumps(told(self.weights, self.rules.evidence))


def _unsearchable(context: AnnotationContext) -> str:
    """Why nothing can be said of a trace; empty where something can."""
    if not context.trace.steps:
        return "no steps"
    if context.problem.answer is None:
        return "no reference answer to grade rollouts with"
    return (
        f"outcome unknown: {context.trace.outcome_reason}"
        if context.trace.outcome is Verdict.UNKNOWN
        else ""
    )


def _verbatim(shard: Sequence[AnnotationContext]) -> float:
    """How often a step is written word for word as in another solution that agreed so far: in hundredths, neither 0 nor 1."""
    seen = [(one, len(context.trace.steps)) for context in shard for one in _known(context)]
    followed = sum(one.leaves - one.start for one, _ in seen)
    left = sum(one.leaves < steps for one, steps in seen)
    return min(max(round((followed + 1) / (followed + left + 4), 2), 0.01), 0.99)


def _belief(context: AnnotationContext, evidence: Sequence[str], verbatim: float) -> Belief:
    """What is known of a trace so far."""
    said = (context.upstream.get(method) for method in evidence)
    # What a method makes of its rollouts is in the rollouts, which count themselves.
    signs = signs_of(
        len(context.trace.steps),
        [None if one is None or one.cost.rollouts else one for one in said],
    )
    belief = Belief(signs, right=context.trace.outcome is Verdict.CORRECT, verbatim=verbatim)
    for seen in _known(context):
        belief.see(seen)
    return belief


def _known(context: AnnotationContext) -> Iterator[Observation]:
    """Every completion of the problem that begins as the trace does: the other traces, and the rollouts from any."""
    trace, family = context.trace, context.group
    for other in family.traces.values():
        if other.trace_id != trace.trace_id:
            yield from _seen(trace, 0, "".join(other.steps), other.outcome, other.final_answer)
    for rollout in family.rollouts:
        begun = family.traces[rollout.trace_id].steps[: rollout.prefix_steps]
        if begun == trace.steps[: rollout.prefix_steps]:
            yield from _seen(trace, len(begun), rollout.text, rollout.outcome, rollout.final_answer)


def _seen(
    trace: Trace, start: int, text: str, outcome: Verdict, answer: str | None
) -> Iterator[Observation]:
    """What a completion from the first `start` steps of a trace shows; nothing, where its outcome is unknown."""
    if outcome is Verdict.UNKNOWN:
        return
    leaves, read = start, 0
    for step in trace.steps[start:]:
        if not text.startswith(step, read):
            break
        leaves, read = leaves + 1, read + len(step)
    yield Observation(
        start,
        leaves,
        RIGHT if outcome is Verdict.CORRECT else SAME if answer == trace.final_answer else OTHER,
    )


def _tokens_left(trace: Trace) -> Floats:
    """What a completion from each of the prefixes 0 … T-1 is expected to cost, in tokens: as many as the trace itself has left there."""
    left = list(accumulate(map(len, reversed(trace.steps))))[::-1]  # in letters
    tokens = trace.generated_tokens or left[0] / LETTERS_PER_TOKEN
    return REQUEST_TOKENS + np.array(left) * (tokens / max(1, left[0]))
