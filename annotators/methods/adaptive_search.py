"""Adaptive search: sample the rollout that is most informative about the first error per token."""

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

from annotators.base import Annotator, CostBound, SampleCount
from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.first_error import em
from annotators.first_error.batcher import PosteriorBatcher
from annotators.first_error.features import encode
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel, Weights, to_dict
from annotators.first_error.numerics import Floats
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence
from stepmark.errors import EngineError
from stepmark.records import NO_ERROR, Annotation, Problem, StepAnnotation, Trace, Verdict

__all__ = ["AdaptiveSearch"]

CHARACTERS_PER_TOKEN = 3.0
"""Used if the number of a trace's tokens is unknown, as for imported traces."""
MIN_VERDICT_PROBABILITY = 0.5
"""Steps get verdicts if the most likely first error has at least this probability."""
# A request also has to read its prompt, grade the answer and store it.
REQUEST_TOKENS = 10.0
"""Fixed cost of a request, in generated tokens."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveSearch:
    """Search every trace for its first error, at a cost that depends on the uncertainty.

    The posterior over the first error (see `first_error.model`) starts from evidence that needs no
    new rollouts: the problem's other traces, the rollouts from them, and the annotations of the
    methods in `evidence`. The search then samples rollouts from the prefix with the highest
    expected information gain per expected token.

    The model's weights are fitted on each shard, after the pilots have been searched with the
    default weights. Traces of one problem are searched one after another, so that each can use the
    rollouts of the previous ones.

    `first_error` is the most likely first error, `confidence` its probability, and `posterior` all
    probabilities. The value of a step is the probability that it and all earlier steps are
    right. No paper describes this method; choosing experiments by expected information is due to
    Lindley (1956).
    """

    evidence: tuple[str, ...] = ()
    """Methods whose annotations are used; list them before this method in the run file."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Stop when the most likely first error has this probability."""
    worth: Annotated[float, Field(ge=0)] = 0.5
    """Stop when 1,000 tokens are expected to bring less information than this, in nats."""
    budget: Annotated[int, Field(ge=0)] = 32
    """Stop after this many rollouts per trace."""
    batch: SampleCount = 1
    """Rollouts per request. More reduce waiting, but are chosen with less information."""
    pilots: Annotated[int, Field(ge=0)] = 24
    """Traces per shard, with a wrong answer, that are searched before the weights are fitted."""

    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    @cached_property
    def likelihoods(self) -> StepLikelihoods:
        """Return the likelihood rows that all shards of a run share."""
        return StepLikelihoods(FirstErrorModel())

    @cached_property
    def batcher(self) -> PosteriorBatcher:
        """Return the batcher that all shards of a run share."""
        return PosteriorBatcher(self.likelihoods)

    async def fit(self, shard: Sequence[AnnotationContext]) -> Annotator:
        """Return a search with weights that are fitted on a shard.

        The fit uses the evidence on all traces of the shard, including the rollouts of the pilots,
        which stay in the context of their trace.
        """
        searchable = [context for context in shard if not _reason_to_abstain(context)]
        # Comparing texts and fitting take long; both would block the event loop.
        verbatim_rate = await asyncio.to_thread(_verbatim_rate, searchable)
        pilot_search = self._default_search(verbatim_rate)
        wrong = [context for context in searchable if context.trace.outcome is Verdict.INCORRECT]
        # A reproducible choice of pilots: ids of generated traces are digests, so it is arbitrary.
        wrong.sort(key=lambda context: context.trace.trace_id)
        await gather_or_cancel(map(pilot_search.run_pilot, wrong[: self.pilots]))
        return await asyncio.to_thread(pilot_search.fitted, wrong)

    def cost_bound(self, steps: Sequence[int], judges: int) -> CostBound:
        """Return the budget of every trace."""
        del judges
        return CostBound(rollouts=self.budget * len(steps))

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Annotate one trace with the default weights."""
        search = self._default_search(_verbatim_rate([context]))
        return await search.annotate(problem, trace, context)

    def _default_search(self, verbatim_rate: float) -> "_Search":
        weights = self.likelihoods.model.default_weights(len(self.evidence))
        return _Search(self, weights, verbatim_rate)


@dataclass(frozen=True)
class _Search:
    """The search with given weights."""

    settings: AdaptiveSearch
    weights: Weights
    verbatim_rate: float

    needs: ClassVar[frozenset[str]] = AdaptiveSearch.needs

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        """Sample rollouts until a stopping rule applies, and return the posterior."""
        reason = _reason_to_abstain(context)
        if reason:
            return abstention(trace, reason)
        return self._annotation(context, await self._search(context))

    def fitted(self, wrong: Sequence[AnnotationContext]) -> "_Search":
        """Return the same search with weights that are fitted on traces with a wrong answer.

        Traces with a correct answer are left out: harmless errors are too rare to learn from them.
        """
        evidence = self.settings.evidence
        traces = (_trace_evidence(context, evidence, self.verbatim_rate) for context in wrong)
        weights = em.fit(traces, len(evidence), self.settings.likelihoods)
        return replace(self, weights=weights)

    async def run_pilot(self, context: AnnotationContext) -> None:
        """Sample the rollouts of a pilot trace.

        A non-retryable engine error ends the pilot. It is reported when the trace is annotated.
        """
        try:
            await self._search(context)
        except EngineError as error:
            if error.retryable:
                raise

    async def _search(self, context: AnnotationContext) -> Floats:
        """Sample rollouts until a stopping rule applies; return the posterior [first error]."""
        settings = self.settings
        trace = context.trace
        async with context.group.turn, settings.batcher.active_search():
            evidence = _trace_evidence(context, settings.evidence, self.verbatim_rate)
            costs = _rollout_costs(trace)
            while True:
                posterior, gains = await settings.batcher.posterior(evidence, self.weights)
                gain_per_kilotoken = 1000 * gains / costs
                prefix = int(gain_per_kilotoken.argmax())
                rollouts_left = settings.budget - len(context.sampled_rollouts)
                is_certain = posterior.max() >= settings.confidence
                is_not_worth_it = gain_per_kilotoken[prefix] < settings.worth
                if is_certain or is_not_worth_it or rollouts_left <= 0:
                    return posterior
                count = min(settings.batch, rollouts_left)
                for rollout in await context.rollouts(prefix, count):
                    observation = _observe(
                        trace, prefix, rollout.text, rollout.outcome, rollout.final_answer
                    )
                    if observation:
                        evidence.add(observation)

    def _annotation(self, context: AnnotationContext, probabilities: Floats) -> Annotation:
        trace = context.trace
        best = int(probabilities.argmax())
        posterior = tuple(probabilities.tolist())
        has_verdicts = posterior[best] >= MIN_VERDICT_PROBABILITY
        outcomes = defaultdict[int, list[Verdict]](list)
        for rollout in context.sampled_rollouts:
            outcomes[rollout.prefix_steps].append(rollout.outcome)

        steps = list[StepAnnotation]()
        for index, error_so_far in enumerate(accumulate(posterior[:-1])):
            verdict = Verdict.UNKNOWN
            if has_verdicts:
                verdict = _verdict_of(index, best)
            # The rollouts that show whether a step is right start after it.
            monte_carlo = monte_carlo_estimate(outcomes[index + 1])
            step = StepAnnotation(
                verdict=verdict,
                # Rounding may leave the sum slightly outside [0, 1].
                value=min(1.0, max(0.0, 1 - error_so_far)),
                successes=monte_carlo.successes,
                trials=monte_carlo.trials,
                unknowns=monte_carlo.unknowns,
            )
            steps.append(step)

        first_error = best
        if best == len(trace.steps):
            first_error = NO_ERROR
        return Annotation(
            trace_id=trace.trace_id,
            method="",
            first_error=first_error,
            confidence=posterior[best],
            steps=tuple(steps),
            posterior=posterior,
            learned=self._weights_json,
        )

    @cached_property
    def _weights_json(self) -> str:
        # Cached: all traces of a shard store the same text.
        return json.dumps(to_dict(self.weights, self.settings.evidence))


def _verdict_of(step: int, first_error: int) -> Verdict:
    if step < first_error:
        return Verdict.CORRECT
    if step == first_error:
        return Verdict.INCORRECT
    return Verdict.UNKNOWN


def _reason_to_abstain(context: AnnotationContext) -> str:
    """Return why a trace cannot be searched; an empty string if it can."""
    trace = context.trace
    if not trace.steps:
        return "no steps"
    if context.problem.answer is None:
        return "no reference answer to grade rollouts with"
    if trace.outcome is Verdict.UNKNOWN:
        return f"outcome unknown: {trace.outcome_reason}"
    return ""


def _verbatim_rate(shard: Sequence[AnnotationContext]) -> float:
    """Estimate how often two solutions that agree so far have the same words at the next step.

    The rate is rounded to hundredths, so that steps of different shards share cached rows. It is
    clipped to [0.01, 0.99], since the likelihood takes the logarithms of it and of its complement.
    """
    repeated = 0
    diverged = 0
    for context in shard:
        steps = len(context.trace.steps)
        for observation in _observations(context):
            repeated += observation.diverges_at - observation.start
            if observation.diverges_at < steps:
                diverged += 1
    # Pseudo-counts of 1 repeated step in 4: a shard of single traces has no observation.
    rate = (repeated + 1) / (repeated + diverged + 4)
    return min(max(round(rate, 2), 0.01), 0.99)


def _trace_evidence(
    context: AnnotationContext, methods: Sequence[str], verbatim_rate: float
) -> TraceEvidence:
    """Collect the evidence on a trace that is available without a new rollout."""
    annotations = list[Annotation | None]()
    for method in methods:
        annotation = context.upstream.get(method)
        # The rollouts of a method in `evidence` are in the group and count as rollouts. Counting
        # its annotation as well would use the same evidence twice.
        if annotation is not None and annotation.cost.rollouts:
            annotation = None
        annotations.append(annotation)
    evidence = TraceEvidence(
        encode(len(context.trace.steps), annotations),
        correct_outcome=context.trace.outcome is Verdict.CORRECT,
        verbatim_rate=verbatim_rate,
    )
    for observation in _observations(context):
        evidence.add(observation)
    return evidence


def _observations(context: AnnotationContext) -> Iterator[Observation]:
    """Yield every solution of the problem that begins like the trace.

    These are the problem's other traces and the rollouts from all of its traces.
    """
    trace = context.trace
    group = context.group
    for other in group.traces.values():
        if other.trace_id == trace.trace_id:
            continue
        text = "".join(other.steps)
        observation = _observe(trace, 0, text, other.outcome, other.final_answer)
        if observation:
            yield observation
    for rollout in group.rollouts:
        start = rollout.prefix_steps
        prefix = group.traces[rollout.trace_id].steps[:start]
        if prefix != trace.steps[:start]:
            continue
        observation = _observe(
            trace, len(prefix), rollout.text, rollout.outcome, rollout.final_answer
        )
        if observation:
            yield observation


def _observe(
    trace: Trace, start: int, text: str, outcome: Verdict, answer: str | None
) -> Observation | None:
    """Compare a continuation of the first `start` steps with the trace.

    Returns:
        The observation, or None if the outcome is unknown: then the rollout is ignored.
    """
    if outcome is Verdict.UNKNOWN:
        return None
    diverges_at = start
    position = 0
    for step in trace.steps[start:]:
        if not text.startswith(step, position):
            break
        diverges_at += 1
        position += len(step)
    if outcome is Verdict.CORRECT:
        end = RolloutEnd.CORRECT
    elif answer == trace.final_answer:
        end = RolloutEnd.SAME_WRONG
    else:
        end = RolloutEnd.OTHER
    return Observation(start, diverges_at, end)


def _rollout_costs(trace: Trace) -> Floats:
    """Return the expected cost of a rollout from each prefix 0 ... T-1, in tokens, array [prefix].

    A rollout is expected to be as long as the rest of the trace.
    """
    remaining = list(accumulate(len(step) for step in reversed(trace.steps)))
    characters_left = remaining[::-1]
    tokens = trace.generated_tokens or characters_left[0] / CHARACTERS_PER_TOKEN
    tokens_per_character = tokens / max(1, characters_left[0])
    return REQUEST_TOKENS + np.array(characters_left) * tokens_per_character
