"""The tools of an annotator: true continuations, seeds and ids of their own, a bill; and failures that are records."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from annotators.concurrency import gather_or_cancel
from annotators.context import AnnotationContext, Grade
from annotators.estimates import monte_carlo_estimate
from annotators.failures import abstention
from annotators.running import run
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.errors import ConfigError, EngineError
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Cost, Problem, Sampling, StepAnnotation, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    SAMPLING,
    C,
    I,
    U,
    family,
    grade,
    last_sample_solves,
    services,
    solves_with,
    trace_of,
)

TRACE = trace_of(3)


@dataclass(frozen=True, kw_only=True)
class Doing:
    """An annotator that does as told."""

    deed: Callable[[AnnotationContext], Awaitable[Annotation]]
    needs: ClassVar[frozenset[str]] = frozenset()

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        return await self.deed(context)


def tools_of(engine: Scripted, trace: Trace = TRACE, seed: int = 1) -> AnnotationContext:
    return AnnotationContext(
        services(engine, engine, seed), "test", PROBLEM, trace, family(trace, (C, I))
    )


async def outcome_of(
    deed: Callable[[AnnotationContext], Awaitable[Annotation]], trace: Trace = TRACE
) -> Annotation:
    return await run(
        Doing(deed=deed),
        "m",
        "f",
        PROBLEM,
        trace,
        tools_of(Scripted(respond=last_sample_solves), trace),
    )


async def test_a_rollout_continues_the_text_of_its_prefix() -> None:
    asked: list[tuple[Prompt, Sampling]] = []

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        asked.append((prompt, sampling))
        return "yes"

    context = tools_of(Scripted(respond=respond))
    (rollout,) = await context.rollouts(2, 1)
    ((prompt, sampling),) = asked
    assert (prompt.user, prompt.prefix) == ("How many?", "sound 0\nsound 1\n")
    assert sampling == replace(SAMPLING, n=1, seed=sampling.seed)
    assert (rollout.trace_id, rollout.prefix_steps, rollout.text, rollout.outcome) == (
        TRACE.trace_id,
        2,
        "yes",
        C,
    )
    assert context.sampled_rollouts == [rollout]


async def test_what_is_graded_is_the_whole_solution() -> None:
    context = tools_of(Scripted(replies={"": ("s",)}), replace(TRACE, steps=("ye", "!")))
    assert [rollout.outcome for rollout in await context.rollouts(1, 1)] == [C]


async def test_rollouts_of_one_prefix_differ_whether_asked_for_in_turn_or_at_once() -> None:
    in_turn, at_once = (tools_of(Scripted(respond=last_sample_solves)) for _ in range(2))
    for _ in range(3):
        await in_turn.rollouts(1, 4)
    await asyncio.gather(*(at_once.rollouts(1, 4) for _ in range(3)))
    assert {rollout.rollout_id for rollout in at_once.sampled_rollouts} == {
        rollout.rollout_id for rollout in in_turn.sampled_rollouts
    }
    for context in (in_turn, at_once):
        assert len({rollout.rollout_id for rollout in context.sampled_rollouts}) == 12
        assert len({rollout.seed for rollout in context.sampled_rollouts}) == 12
        assert sorted(rollout.seed % SEED_SPACING for rollout in context.sampled_rollouts) == list(
            range(12)
        )


async def test_a_prefix_asked_in_waves_draws_what_one_request_would() -> None:
    engine = Scripted(respond=solves_with(0.5))
    at_once, in_waves = tools_of(engine), tools_of(engine)
    await at_once.rollouts(1, 8)
    for wave in (1, 1, 2, 4):
        await in_waves.rollouts(1, wave)
    by_id = [
        [replace(one, prompt_tokens=0) for one in context.sampled_rollouts]
        for context in (at_once, in_waves)
    ]
    assert by_id[0] == by_id[1]


async def test_what_is_cancelled_in_the_engine_is_counted_and_no_rollout() -> None:
    context = tools_of(Scripted(replies={"": ("yes",)}, delay=60))
    asking = asyncio.create_task(context.rollouts(1, 5))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (context.cost, context.sampled_rollouts) == (Cost(aborted=5), [])


async def test_what_had_come_back_when_it_was_cancelled_is_graded_and_kept() -> None:
    grading = asyncio.Event()

    async def slowly(text: str, finish_reason: str, reference: str | None) -> Grade:
        grading.set()
        await asyncio.sleep(0.001)
        return await grade(text, finish_reason, reference)

    engine = Scripted(replies={"": ("yes",)})
    context = AnnotationContext(
        replace(services(engine), grade=slowly), "test", PROBLEM, TRACE, family(TRACE, (C, I))
    )
    asking = asyncio.create_task(context.rollouts(1, 3))
    await grading.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [rollout.outcome for rollout in context.sampled_rollouts] == [C] * 3
    assert (context.cost.rollouts, context.cost.aborted) == (3, 0)


async def test_seeds_and_ids_depend_on_run_trace_prefix_and_attempt() -> None:
    engine = Scripted(replies={"": ("yes",)})
    same, again, other_seed, other_trace = (
        tools_of(engine, trace, seed)
        for trace, seed in [(TRACE, 1), (TRACE, 1), (TRACE, 2), (trace_of(4), 1)]
    )
    names = []
    for context in (same, again, other_seed, other_trace):
        (rollout,) = await context.rollouts(1, 1)
        names.append((rollout.rollout_id, rollout.seed))
    names += [(rollout.rollout_id, rollout.seed) for rollout in await same.rollouts(2, 1)]
    assert names[0] == names[1]
    assert len({name for name, _ in names}) == len({seed for _, seed in names}) == 4


async def test_asking_has_a_seed_for_every_trace_and_every_question() -> None:
    asked: list[int] = []

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        asked.append(sampling.seed)
        return "yes"

    engine = Scripted(respond=respond)
    for trace, seed in [(TRACE, 0), (TRACE, 1), (trace_of(4), 0)]:
        await tools_of(engine, trace).ask(Prompt(user="?"), Sampling(seed=seed))
    assert len(set(asked)) == 3
    assert {seed % SEED_SPACING for seed in asked} == {0}


async def test_everything_asked_is_on_the_bill() -> None:
    whole = Completion(
        text="yes", finish_reason="stop", prompt_tokens=10, cached_tokens=3, generated_tokens=2
    )
    context = tools_of(Scripted(respond=lambda *_: whole))
    await context.rollouts(1, 4)
    await context.ask(Prompt(user="?"), Sampling(n=2))
    assert context.cost == Cost(rollouts=4, prompt_tokens=60, cached_tokens=18, generated_tokens=12)


async def test_the_method_the_fingerprint_and_the_bill_are_filled_in() -> None:
    async def deed(context: AnnotationContext) -> Annotation:
        await context.rollouts(1, 4)
        return abstention(TRACE, "why")

    annotation = await outcome_of(deed)
    assert (annotation.method, annotation.fingerprint, annotation.error) == ("m", "f", None)
    assert (annotation.cost.rollouts, annotation.cost.generated_tokens) == (4, 4)
    assert annotation.cost.seconds > 0
    assert [step.rationale for step in annotation.steps] == ["why"] * 3


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineError("too long", retryable=False), "EngineError: too long"),
        (KeyError("x"), "KeyError: 'x'"),
        (TimeoutError(), "TimeoutError: "),
    ],
)
async def test_a_failure_is_a_record_and_never_a_verdict(error: Exception, told: str) -> None:
    async def deed(context: AnnotationContext) -> Annotation:
        await context.rollouts(1, 2)
        raise error

    annotation = await outcome_of(deed)
    assert (annotation.error, annotation.first_error, annotation.steps) == (
        told,
        None,
        (StepAnnotation(),) * 3,
    )
    assert (annotation.method, annotation.cost.rollouts) == ("m", 2)


@pytest.mark.parametrize(
    "error", [EngineError("down", retryable=True), ConfigError("mend me"), asyncio.CancelledError()]
)
async def test_what_is_no_traces_fault_passes_through(error: BaseException) -> None:
    async def deed(_tools: AnnotationContext) -> Annotation:
        raise error

    with pytest.raises(type(error)):
        await outcome_of(deed)


async def test_what_is_no_traces_fault_passes_out_of_a_plugins_own_task_group() -> None:
    async def down() -> None:
        raise EngineError("down", retryable=True)

    async def deed(_tools: AnnotationContext) -> Annotation:
        async with asyncio.TaskGroup() as group:
            group.create_task(down())
        return abstention(TRACE, "never here")

    with pytest.raises(EngineError, match="down"):
        await outcome_of(deed)


async def test_an_annotation_of_another_number_of_steps_is_a_failure() -> None:
    async def deed(_tools: AnnotationContext) -> Annotation:
        return abstention(trace_of(5), "")

    annotation = await outcome_of(deed)
    assert annotation.error == "ValueError: 5 step annotations for 3 steps"
    assert len(annotation.steps) == 3


async def test_a_trace_without_steps_is_nobodys_work() -> None:
    async def deed(_tools: AnnotationContext) -> Annotation:
        raise AssertionError

    annotation = await outcome_of(deed, trace_of(0))
    assert (annotation.steps, annotation.first_error, annotation.error, annotation.method) == (
        (),
        None,
        None,
        "m",
    )


@pytest.mark.parametrize(
    ("outcomes", "verdict", "value", "counts"),
    [
        ([], U, None, (0, 0, 0)),
        ([U, U], U, None, (0, 0, 2)),
        ([I, I], I, 0.0, (0, 2, 0)),
        ([I, U], I, 0.0, (0, 1, 1)),
        ([I, I, I, C], C, 0.25, (1, 4, 0)),
        ([C, U, U, I], C, 0.5, (1, 2, 2)),
        ([C], C, 1.0, (1, 1, 0)),
    ],
)
def test_the_estimate_leaves_unknown_outcomes_out_of_both_sides(
    outcomes: list[Verdict], verdict: Verdict, value: float | None, counts: tuple[int, int, int]
) -> None:
    successes, trials, unknowns = counts
    expected = StepAnnotation(
        verdict=verdict, value=value, successes=successes, trials=trials, unknowns=unknowns
    )
    assert monte_carlo_estimate(outcomes) == expected


async def test_together_keeps_the_order() -> None:
    async def late(index: int) -> int:
        await asyncio.sleep(0.01 * (3 - index))
        return index

    assert await gather_or_cancel(late(index) for index in range(3)) == [0, 1, 2]


async def test_together_the_first_error_cancels_the_rest() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cancelled")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise EngineError("down", retryable=True)

    with pytest.raises(EngineError, match="down"):
        await gather_or_cancel([waits(), fails(), waits()])
    assert ended == ["cancelled"] * 2
