"""Adaptive search finds first errors for less, says how sure it is, and reuses what is known of a problem."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.running import run
from benchmarks._policy import ANSWER, Policy
from engines.base import Completion, Prompt
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
    cut,
    done_by,
    last_sample_solves,
    solves_with,
    trace_of,
    verdicts,
)

POLICY = Policy(steps=6, reliability=0.92)
SAMPLES = 8


@pytest.mark.parametrize(("steps", "sure"), [(1, 0.8), (2, 0.8), (5, 0.8), (16, 0.8), (64, 0.7)])
async def test_names_every_first_error_of_a_policy_that_never_slips(
    steps: int, sure: float
) -> None:
    for error in {0, steps // 3, steps - 1}:
        done = await done_by(
            AdaptiveSearch(worth=0, confidence=sure, budget=64),
            trace_of(steps, error),
            solves_with(1.0),
        )
        assert done.annotation.first_error == error, (steps, error)
        assert verdicts(done.annotation) == "c" * error + "i" + "u" * (steps - error - 1)
        assert done.annotation.confidence == max(done.annotation.posterior) >= sure


async def test_a_posterior_is_told_whole_and_as_values() -> None:
    done = await done_by(AdaptiveSearch(), trace_of(6, 3), solves_with(0.9))
    posterior = done.annotation.posterior
    assert len(posterior) == 7
    assert sum(posterior) == pytest.approx(1)
    assert [step.value for step in done.annotation.steps] == pytest.approx(
        [1 - sum(posterior[: index + 1]) for index in range(6)]
    )
    assert '"reliability"' in done.annotation.learned


@pytest.mark.parametrize("batch", [1, 3])
async def test_no_budget_is_overshot(batch: int) -> None:
    done = await done_by(
        AdaptiveSearch(worth=0, confidence=0.999, budget=10, batch=batch),
        trace_of(9, 4),
        solves_with(0.5),
    )
    assert done.annotation.cost.rollouts == len(done.context.sampled_rollouts) == 10


async def test_what_is_not_worth_its_tokens_is_not_bought() -> None:
    frugal, eager = [
        await done_by(AdaptiveSearch(worth=worth), trace_of(9, 4), solves_with(0.7))
        for worth in (50, 0.1)
    ]
    assert len(frugal.context.sampled_rollouts) == 0 < len(eager.context.sampled_rollouts)
    assert frugal.annotation.confidence is not None
    assert frugal.annotation.confidence < 0.9


async def test_a_right_answer_is_free_of_errors_until_something_speaks_against_it() -> None:
    plain = await done_by(AdaptiveSearch(), trace_of(6), solves_with(0.9), siblings=(C, C, C))
    assert (plain.annotation.first_error, verdicts(plain.annotation)) == (NO_ERROR, "cccccc")
    flawed = trace_of(6, 2, outcome=C)
    found = await done_by(
        AdaptiveSearch(worth=0.0, budget=64, confidence=0.99), flawed, solves_with(0.95)
    )
    assert found.annotation.first_error == 2


async def test_unknown_rollouts_say_nothing_and_end_with_the_budget() -> None:
    cut_off = await done_by(AdaptiveSearch(worth=0, budget=5), trace_of(6, 2), cut)
    unasked = await done_by(AdaptiveSearch(budget=0), trace_of(6, 2), cut)
    assert cut_off.annotation.posterior == unasked.annotation.posterior
    assert (
        sum(step.unknowns for step in cut_off.annotation.steps)
        + sum(r.prefix_steps == 0 for r in cut_off.context.sampled_rollouts)
        == 5
    )


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
async def test_what_cannot_be_searched_is_left_undecided_for_nothing(
    trace: Trace, problem: Problem, reason: str
) -> None:
    done = await done_by(AdaptiveSearch(), trace, last_sample_solves, problem=problem)
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (
        None,
        "uuuu",
        [],
    )
    assert {step.rationale for step in done.annotation.steps} == {reason}


async def shard(
    respond: Respond = POLICY.respond, problems: int = 16, said: Mapping[str, str] | None = None
) -> Sequence[AnnotationContext]:
    """The simulated policy's traces of some problems, as a method finds them; `said` adds what a source knows."""
    engine = Scripted(respond=respond)
    services = RunServices(
        seed=1,
        engine=engine,
        judge_engine=None,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        grade=graded,
        verify=lambda *_: asyncio.sleep(0, None),
    )
    context = list[AnnotationContext]()
    for problem in POLICY.problems(problems):
        written = await Scripted(respond=POLICY.respond).complete(
            Prompt(user=problem.question), Sampling(n=SAMPLES, seed=seed_for(problem.problem_id))
        )
        family = ProblemGroup(traces={})
        for index, one in enumerate(written):
            grade = await graded(one.text, "stop", ANSWER)
            trace = Trace(
                trace_id=f"{problem.problem_id}/{index}",
                problem_id=problem.problem_id,
                steps=split(one.text, "line"),
                final_answer=grade.final_answer,
                outcome=grade.outcome,
                outcome_reason="",
                model="policy",
                generated_tokens=one.generated_tokens,
            )
            family.traces[trace.trace_id] = trace
            context.append(
                AnnotationContext(
                    services,
                    "adaptive_search",
                    problem,
                    trace,
                    family,
                    knowing(trace) if said else {},
                )
            )
    return context


def knowing(trace: Trace) -> Mapping[str, Annotation]:
    """A source that sees every second error."""
    error = POLICY.first_error(trace)
    seen = error != NO_ERROR and int(digest(trace.steps), 16) % 2
    steps = tuple(
        StepAnnotation(verdict=I if seen and index == error else U)
        for index in range(len(trace.steps))
    )
    return {
        "formal": Annotation(
            trace_id=trace.trace_id, method="formal", first_error=None, steps=steps
        )
    }


async def graded(text: str, finish_reason: str, reference: str | None) -> Grade:
    answer = final_answer(text)
    return Grade(final_answer=answer, outcome=C if answer == reference else I, reason=finish_reason)


async def searched(
    rules: AdaptiveSearch, context: Sequence[AnnotationContext]
) -> Sequence[Annotation]:
    search = await rules.fit(context)
    return list(
        await gather_or_cancel(
            run(search, "adaptive_search", "", one.problem, one.trace, one) for one in context
        )
    )


def of_wrong(
    context: Sequence[AnnotationContext], said: Sequence[Annotation]
) -> Sequence[tuple[AnnotationContext, Annotation]]:
    return [
        (one, annotation)
        for one, annotation in zip(context, said, strict=True)
        if one.trace.outcome is I
    ]


def exact(found: Sequence[tuple[AnnotationContext, Annotation]]) -> float:
    return sum(
        annotation.first_error == POLICY.first_error(one.trace) for one, annotation in found
    ) / len(found)


def tokens(found: Sequence[tuple[AnnotationContext, Annotation]]) -> int:
    return sum(annotation.cost.generated_tokens for _, annotation in found)


async def test_it_knows_more_than_binary_search_for_less_and_how_much() -> None:
    context = await shard()
    adaptive = of_wrong(context, await searched(AdaptiveSearch(), context))
    fresh = await shard()
    bisected = of_wrong(
        fresh, [await run(BinarySearch(), "m", "", one.problem, one.trace, one) for one in fresh]
    )
    assert len(adaptive) > 30
    assert exact(adaptive) > exact(bisected) + 0.05
    assert tokens(adaptive) < tokens(bisected) / 3
    confidence = sum(annotation.confidence or 0.0 for _, annotation in adaptive) / len(adaptive)
    assert confidence == pytest.approx(
        exact(adaptive), abs=0.1
    )  # a little low: these completions are drawn independently


async def test_evidence_that_costs_nothing_saves_rollouts() -> None:
    alone, helped = await shard(), await shard(said={"formal": "knows"})
    bought = of_wrong(alone, await searched(AdaptiveSearch(), alone))
    saved = of_wrong(helped, await searched(AdaptiveSearch(evidence=("formal",)), helped))
    assert tokens(saved) < 0.8 * tokens(bought)
    assert exact(saved) >= exact(bought) - 0.03


async def test_the_same_shard_is_searched_in_the_same_way() -> None:
    async def slowly(prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        await asyncio.sleep(sampling.seed % 7 / 1000)
        return [POLICY.respond(prompt, sampling, index) for index in range(sampling.n)]

    once = await shard(problems=6)
    again = await shard(problems=6)
    for one in again:
        object.__setattr__(one._services.engine, "complete", slowly)
    first, second = [await searched(AdaptiveSearch(pilots=6), context) for context in (once, again)]
    assert [(a.first_error, a.posterior, a.cost.rollouts) for a in first] == [
        (a.first_error, a.posterior, a.cost.rollouts) for a in second
    ]


async def test_rollouts_of_a_sibling_that_begins_alike_are_not_bought_again() -> None:
    trace = trace_of(8, 3)
    twin = replace(trace, trace_id="twin")
    family = ProblemGroup(traces={trace.trace_id: trace, twin.trace_id: twin})
    engine = Scripted(respond=solves_with(0.9))
    rules, bought = AdaptiveSearch(worth=0, confidence=0.9), list[int]()
    for one in (trace, twin):
        services = RunServices(
            seed=1,
            engine=engine,
            judge_engine=None,
            solve_prompt=lambda problem: Prompt(user=problem.question),
            rollout_sampling=Sampling(),
            grade=lambda text, *_: graded_by_its_end(text),
            verify=lambda *_: asyncio.sleep(0, None),
        )
        context = AnnotationContext(services, "adaptive_search", PROBLEM, one, family)
        annotation = await run(rules, "m", "", PROBLEM, one, context)
        assert annotation.first_error == 3
        bought.append(annotation.cost.rollouts)
    assert bought[0] > bought[1]  # completions that are alike clear the twin a little less


async def graded_by_its_end(text: str) -> Grade:
    return Grade(final_answer=text[-3:], outcome=C if text.endswith("yes") else I, reason="")


async def test_a_request_that_is_refused_is_one_traces_record_and_one_that_may_pass_is_nobodys() -> (
    None
):
    def refuses(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        if "Problem 3" in prompt.user and prompt.prefix:
            raise EngineError("too long", retryable=False)
        return POLICY.respond(prompt, sampling, index)

    context = await shard(refuses, problems=8)
    failed = {
        a.trace_id.partition("/")[0]
        for a in await searched(AdaptiveSearch(worth=0.01, pilots=50), context)
        if a.error
    }
    assert failed <= {"3"}

    def down(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        raise EngineError("down", retryable=True)

    with pytest.raises(EngineError, match="down"):
        await searched(AdaptiveSearch(), await shard(down, problems=4))
