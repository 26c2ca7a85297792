"""Adaptive search: accuracy, cost, stopping rules, shared evidence and engine errors."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.running import run
from benchmarks.efficiency.simulated_policy import ANSWER, Policy
from engines.base import Completion, Engine, Prompt
from engines.scripted import Scripted
from stepmark.errors import EngineError
from stepmark.final_answers import final_answer
from stepmark.identity import digest, seed_for
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, StepAnnotation, Trace
from stepmark.steps import split
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    Respond,
    U,
    annotate_trace,
    cut,
    last_sample_solves,
    solves_with,
    trace_of,
    verdicts,
)

POLICY = Policy(steps=6, reliability=0.92)
SAMPLES = 8


@pytest.mark.parametrize(
    ("steps", "confidence"), [(1, 0.8), (2, 0.8), (5, 0.8), (16, 0.8), (64, 0.7)]
)
async def test_finds_every_first_error(steps: int, confidence: float) -> None:
    method = AdaptiveSearch(worth=0, confidence=confidence, budget=64)
    for error in {0, steps // 3, steps - 1}:
        done = await annotate_trace(method, trace_of(steps, error), solves_with(1.0))
        annotation = done.annotation
        assert annotation.first_error == error, (steps, error)
        assert verdicts(annotation) == "c" * error + "i" + "u" * (steps - error - 1)
        assert annotation.confidence == max(annotation.posterior) >= confidence


async def test_annotation_contains_the_posterior() -> None:
    done = await annotate_trace(AdaptiveSearch(), trace_of(6, 3), solves_with(0.9))
    posterior = done.annotation.posterior
    assert len(posterior) == 7
    assert sum(posterior) == pytest.approx(1)
    for index, step in enumerate(done.annotation.steps):
        assert step.value == pytest.approx(1 - sum(posterior[: index + 1]))
    assert '"reliability"' in done.annotation.learned


@pytest.mark.parametrize("batch", [1, 3])
async def test_budget_is_never_exceeded(batch: int) -> None:
    method = AdaptiveSearch(worth=0, confidence=0.999, budget=10, batch=batch)
    done = await annotate_trace(method, trace_of(9, 4), solves_with(0.5))
    assert done.annotation.cost.rollouts == len(done.context.sampled_rollouts) == 10


async def test_high_worth_samples_no_rollouts() -> None:
    frugal = await annotate_trace(AdaptiveSearch(worth=50), trace_of(9, 4), solves_with(0.7))
    eager = await annotate_trace(AdaptiveSearch(worth=0.1), trace_of(9, 4), solves_with(0.7))
    assert len(frugal.context.sampled_rollouts) == 0 < len(eager.context.sampled_rollouts)
    assert frugal.annotation.confidence is not None
    assert frugal.annotation.confidence < 0.9


async def test_correct_answer_suggests_no_error() -> None:
    done = await annotate_trace(AdaptiveSearch(), trace_of(6), solves_with(0.9), siblings=(C, C, C))
    assert (done.annotation.first_error, verdicts(done.annotation)) == (NO_ERROR, "cccccc")


async def test_finds_errors_behind_correct_answers() -> None:
    method = AdaptiveSearch(worth=0.0, budget=64, confidence=0.99)
    done = await annotate_trace(method, trace_of(6, 2, outcome=C), solves_with(0.95))
    assert done.annotation.first_error == 2


async def test_unknown_rollouts_only_spend_budget() -> None:
    truncated = await annotate_trace(AdaptiveSearch(worth=0, budget=5), trace_of(6, 2), cut)
    without_budget = await annotate_trace(AdaptiveSearch(budget=0), trace_of(6, 2), cut)
    assert truncated.annotation.posterior == without_budget.annotation.posterior
    unknowns = sum(step.unknowns for step in truncated.annotation.steps)
    # A rollout from the question counts at no step.
    for rollout in truncated.context.sampled_rollouts:
        if rollout.prefix_steps == 0:
            unknowns += 1
    assert unknowns == 5


@pytest.mark.parametrize(
    ("trace", "problem", "reason"),
    [
        (trace_of(4, 1, outcome=U), PROBLEM, "outcome unknown: simulated"),
        (
            trace_of(4, 1),
            replace(PROBLEM, answer=None),
            "no reference answer to grade rollouts with",
        ),
    ],
)
async def test_unsearchable_traces_cost_nothing(
    trace: Trace, problem: Problem, reason: str
) -> None:
    done = await annotate_trace(AdaptiveSearch(), trace, last_sample_solves, problem=problem)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuuu")
    assert done.requests == []
    assert {step.rationale for step in done.annotation.steps} == {reason}


def services_with(engine: Engine) -> RunServices:
    return RunServices(
        seed=1,
        engine=engine,
        judges=(),
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        split=partial(split, how="line"),
        grade=grade_final_answer,
        verify=lambda *_: asyncio.sleep(0, None),
    )


async def grade_final_answer(text: str, finish_reason: str, reference: str | None) -> Grade:
    answer = final_answer(text)
    outcome = I
    if answer == reference:
        outcome = C
    return Grade(final_answer=answer, outcome=outcome, reason=finish_reason)


async def new_shard(
    respond: Respond = POLICY.respond, *, problems: int = 16, with_formal: bool = False
) -> Sequence[AnnotationContext]:
    """Return the contexts of the simulated policy's traces of some problems."""
    services = services_with(Scripted(respond=respond))
    shard = list[AnnotationContext]()
    for problem in POLICY.problems(problems):
        group = ProblemGroup(traces={})
        for trace in await sample_traces(problem):
            group.traces[trace.trace_id] = trace
            annotations: Mapping[str, Annotation] = {}
            if with_formal:
                annotations = {"formal": annotate_every_second_error(trace)}
            context = AnnotationContext(
                services, "adaptive_search", problem, trace, group, annotations
            )
            shard.append(context)
    return shard


async def sample_traces(problem: Problem) -> Sequence[Trace]:
    engine = Scripted(respond=POLICY.respond)
    sampling = Sampling(n=SAMPLES, seed=seed_for(problem.problem_id))
    completions = await engine.complete(Prompt(user=problem.question), sampling)
    traces = list[Trace]()
    for index, completion in enumerate(completions):
        grade = await grade_final_answer(completion.text, "stop", ANSWER)
        trace = Trace(
            trace_id=f"{problem.problem_id}/{index}",
            problem_id=problem.problem_id,
            steps=split(completion.text, "line"),
            final_answer=grade.final_answer,
            outcome=grade.outcome,
            outcome_reason="",
            model="policy",
            generated_tokens=completion.generated_tokens,
        )
        traces.append(trace)
    return traces


def annotate_every_second_error(trace: Trace) -> Annotation:
    """Return an annotation that contains the first error of half of the traces."""
    error = POLICY.first_error(trace)
    is_found = error != NO_ERROR and int(digest(trace.steps), 16) % 2
    steps = [StepAnnotation(verdict=U)] * len(trace.steps)
    if is_found:
        steps[error] = StepAnnotation(verdict=I)
    return Annotation(
        trace_id=trace.trace_id, method="formal", first_error=None, steps=tuple(steps)
    )


async def fit_and_annotate(
    method: AdaptiveSearch, shard: Sequence[AnnotationContext]
) -> list[Annotation]:
    fitted = await method.fit(shard)
    runs = [run(fitted, "adaptive_search", "", item.problem, item.trace, item) for item in shard]
    return list(await gather_or_cancel(runs))


@dataclass(frozen=True)
class Results:
    """The annotations of the traces with a wrong answer."""

    traces: Sequence[Trace]
    annotations: Sequence[Annotation]

    @property
    def accuracy(self) -> float:
        """Return the share of traces whose first error is found exactly."""
        exact = 0
        for trace, annotation in zip(self.traces, self.annotations, strict=True):
            if annotation.first_error == POLICY.first_error(trace):
                exact += 1
        return exact / len(self.traces)

    @property
    def tokens(self) -> int:
        """Return the total number of generated tokens."""
        return sum(annotation.cost.generated_tokens for annotation in self.annotations)


def wrong_answers(shard: Sequence[AnnotationContext], annotations: Sequence[Annotation]) -> Results:
    traces = list[Trace]()
    kept = list[Annotation]()
    for context, annotation in zip(shard, annotations, strict=True):
        if context.trace.outcome is I:
            traces.append(context.trace)
            kept.append(annotation)
    return Results(traces, kept)


async def test_beats_binary_search() -> None:
    shard = await new_shard()
    adaptive = wrong_answers(shard, await fit_and_annotate(AdaptiveSearch(), shard))
    # A new shard: annotators add their rollouts to the contexts of a shard.
    shard = await new_shard()
    annotations = list[Annotation]()
    for context in shard:
        annotation = await run(BinarySearch(), "m", "", context.problem, context.trace, context)
        annotations.append(annotation)
    binary = wrong_answers(shard, annotations)
    assert len(adaptive.traces) > 30
    assert adaptive.accuracy > binary.accuracy + 0.05
    assert adaptive.tokens < binary.tokens / 3


async def test_confidence_matches_accuracy() -> None:
    shard = await new_shard()
    results = wrong_answers(shard, await fit_and_annotate(AdaptiveSearch(), shard))
    total = sum(annotation.confidence or 0.0 for annotation in results.annotations)
    # Slightly too low: rollouts of the simulated policy are independent.
    assert total / len(results.traces) == pytest.approx(results.accuracy, abs=0.1)


async def test_evidence_saves_tokens() -> None:
    shard = await new_shard()
    without = wrong_answers(shard, await fit_and_annotate(AdaptiveSearch(), shard))
    shard = await new_shard(with_formal=True)
    method = AdaptiveSearch(evidence=("formal",))
    with_evidence = wrong_answers(shard, await fit_and_annotate(method, shard))
    assert with_evidence.tokens < 0.8 * without.tokens
    assert with_evidence.accuracy >= without.accuracy - 0.03


async def test_engine_latency_changes_nothing() -> None:
    async def slow_complete(prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        # Delays of 0 to 6 ms change the order of the replies.
        await asyncio.sleep(sampling.seed % 7 / 1000)
        return [POLICY.respond(prompt, sampling, index) for index in range(sampling.n)]

    fast_shard = await new_shard(problems=6)
    slow_shard = await new_shard(problems=6)
    for context in slow_shard:
        object.__setattr__(context._services.engine, "complete", slow_complete)
    fast = await fit_and_annotate(AdaptiveSearch(pilots=6), fast_shard)
    slow = await fit_and_annotate(AdaptiveSearch(pilots=6), slow_shard)
    for first, second in zip(fast, slow, strict=True):
        assert first.first_error == second.first_error
        assert first.posterior == second.posterior
        assert first.cost.rollouts == second.cost.rollouts


async def test_equal_siblings_share_rollouts() -> None:
    trace = trace_of(8, 3)
    twin = replace(trace, trace_id="twin")
    group = ProblemGroup(traces={trace.trace_id: trace, twin.trace_id: twin})
    services = services_with(Scripted(respond=solves_with(0.9)))
    services = replace(services, grade=grade_last_word, seed=2)
    method = AdaptiveSearch(worth=0, confidence=0.9)
    rollouts = list[int]()
    for member in (trace, twin):
        context = AnnotationContext(services, "adaptive_search", PROBLEM, member, group)
        annotation = await run(method, "m", "", PROBLEM, member, context)
        assert annotation.first_error == 3
        rollouts.append(annotation.cost.rollouts)
    # The twin may still need some: shared rollouts count less because they are correlated.
    assert rollouts[0] > rollouts[1]


async def grade_last_word(text: str, finish_reason: str, reference: str | None) -> Grade:
    outcome = I
    if text.endswith("yes"):
        outcome = C
    return Grade(final_answer=text[-3:], outcome=outcome, reason="")


async def test_rejected_request_fails_its_trace() -> None:
    def reject_problem_3(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        if "Problem 3" in prompt.user and prompt.prefix:
            raise EngineError("too long", retryable=False)
        return POLICY.respond(prompt, sampling, index)

    shard = await new_shard(reject_problem_3, problems=8)
    annotations = await fit_and_annotate(AdaptiveSearch(worth=0.01, pilots=50), shard)
    for annotation in annotations:
        if annotation.error:
            assert annotation.trace_id.startswith("3/")


async def test_retryable_error_propagates() -> None:
    def fail(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        raise EngineError("down", retryable=True)

    shard = await new_shard(fail, problems=4)
    with pytest.raises(EngineError, match="down"):
        await fit_and_annotate(AdaptiveSearch(), shard)
