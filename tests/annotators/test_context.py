"""The context of an annotator: rollouts, seeds, ids, gradings and costs."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from annotators.context import AnnotationContext, Grade, ProblemGroup
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.identity import SEED_SPACING
from stepmark.records import Cost, Rollout, Sampling, Trace
from tests.annotators.simulated import (
    PROBLEM,
    SAMPLING,
    C,
    I,
    grade,
    last_sample_solves,
    problem_group_of,
    services,
    solves_with,
    trace_of,
)
from tests.columns import column

TRACE = trace_of(3)


def context_of(engine: Scripted, trace: Trace = TRACE, seed: int = 1) -> AnnotationContext:
    return AnnotationContext(
        services(engine, engine, seed=seed), "test", PROBLEM, trace, problem_group_of(trace, (C, I))
    )


def without_prompt_tokens(context: AnnotationContext) -> list[Rollout]:
    """The sampled rollouts without prompt tokens, which are counted once per request."""
    return [replace(rollout, prompt_tokens=0) for rollout in context.sampled_rollouts]


async def test_rollout_continues_prefix_text() -> None:
    requests: list[tuple[Prompt, Sampling]] = []

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        requests.append((prompt, sampling))
        return "yes"

    context = context_of(Scripted(respond=respond))
    (rollout,) = await context.rollouts(2, 1)
    ((prompt, sampling),) = requests
    assert (prompt.user, prompt.prefix) == ("How many?", "sound 0\nsound 1\n")
    assert sampling == replace(SAMPLING, n=1, seed=sampling.seed)
    assert rollout.trace_id == TRACE.trace_id
    assert (rollout.prefix_steps, rollout.text, rollout.outcome) == (2, "yes", C)
    assert context.sampled_rollouts == [rollout]
    assert rollout.method == "test"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("2\n\nthen 3\nyes", ("2\n\n", "then 3\n", "yes")),
        # The prefix ends within a line, and the first step is the rest of that line.
        (" more\nyes", (" more\n", "yes")),
        ("\n", ("\n",)),
        ("", ()),
    ],
)
async def test_rollout_steps_split_own_text(text: str, steps: tuple[str, ...]) -> None:
    context = context_of(Scripted(respond=lambda *_: text), replace(TRACE, steps=("one", "two")))
    (rollout,) = await context.rollouts(1, 1)
    assert rollout.steps == steps
    assert "".join(steps) == rollout.text == text


async def test_overlapping_requests_wait_once() -> None:
    seconds = 0.05

    class SlowEngine(Scripted):
        async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
            await asyncio.sleep(seconds)
            return await super().complete(prompt, sampling)

    context = context_of(SlowEngine(respond=last_sample_solves))
    assert context.wait_clock.seconds == 0
    await asyncio.gather(*[context.rollouts(prefix, 1) for prefix in (0, 1, 2)])
    waited = context.wait_clock.seconds
    assert seconds <= waited < 2 * seconds
    # No request is outstanding.
    await asyncio.sleep(seconds)
    assert context.wait_clock.seconds == waited
    await context.ask(Prompt(user="?"), SAMPLING)
    assert waited + seconds <= context.wait_clock.seconds < waited + 2 * seconds


async def test_cancelled_request_ends_waiting() -> None:
    context = context_of(Scripted(respond=last_sample_solves))
    with pytest.raises(asyncio.CancelledError), context.wait_clock:
        raise asyncio.CancelledError
    waited = context.wait_clock.seconds
    assert waited == context.wait_clock.seconds


async def test_whole_solution_is_graded() -> None:
    """The prefix is "ye" and the rollout is "s", so only both together are correct."""
    context = context_of(Scripted(replies={"": ("s",)}), replace(TRACE, steps=("ye", "!")))
    assert column(await context.rollouts(1, 1), "outcome") == [C]


async def test_rollouts_of_one_prefix_differ() -> None:
    sequential = context_of(Scripted(respond=last_sample_solves))
    concurrent = context_of(Scripted(respond=last_sample_solves))
    for _ in range(3):
        await sequential.rollouts(1, 4)
    await asyncio.gather(*(concurrent.rollouts(1, 4) for _ in range(3)))
    ids = list[set[str]]()
    for context in (sequential, concurrent):
        ids.append(set(column(context.sampled_rollouts, "rollout_id")))
        seeds = sorted(rollout.seed for rollout in context.sampled_rollouts)
        assert len(ids[-1]) == len(set(seeds)) == 12
        assert [seed % SEED_SPACING for seed in seeds] == list(range(12))
    assert ids[0] == ids[1]


async def test_small_requests_equal_one_large() -> None:
    engine = Scripted(respond=solves_with(0.5))
    one_request = context_of(engine)
    small_requests = context_of(engine)
    await one_request.rollouts(1, 8)
    for count in (1, 1, 2, 4):
        await small_requests.rollouts(1, count)
    assert without_prompt_tokens(one_request) == without_prompt_tokens(small_requests)


async def test_cancelled_requests_are_counted() -> None:
    context = context_of(Scripted(replies={"": ("yes",)}, delay=60))
    request = asyncio.create_task(context.rollouts(1, 5))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (context.cost, context.sampled_rollouts) == (Cost(aborted=5), [])


async def test_completions_before_cancellation_are_kept() -> None:
    grading = asyncio.Event()

    async def grade_slowly(text: str, finish_reason: str, reference: str | None) -> Grade:
        grading.set()
        await asyncio.sleep(0.001)
        return await grade(text, finish_reason, reference)

    run_services = replace(services(Scripted(replies={"": ("yes",)})), grade=grade_slowly)
    context = AnnotationContext(
        run_services, "test", PROBLEM, TRACE, problem_group_of(TRACE, (C, I))
    )
    request = asyncio.create_task(context.rollouts(1, 3))
    await grading.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert column(context.sampled_rollouts, "outcome") == [C] * 3
    assert (context.cost.rollouts, context.cost.aborted) == (3, 0)


@pytest.mark.parametrize(("reply", "text"), [(" yes", "yes"), ("yes", "yes"), ("\nyes", "\nyes")])
async def test_prefix_is_sent_without_final_spaces(reply: str, text: str) -> None:
    """The space that `sentence` leaves behind a step is the beginning of the model's next token."""
    prefixes = list[str]()

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        prefixes.append(prompt.prefix)
        return reply

    trace = replace(TRACE, steps=("One apple. ", "Two apples.\n\n", "Three apples."))
    context = context_of(Scripted(respond=respond), trace)
    (rollout,) = await context.rollouts(1, 1)
    await context.rollouts(2, 1)
    assert prefixes == ["One apple.", "One apple. Two apples.\n\n"]
    assert (rollout.text, rollout.outcome) == (text, C)


async def test_seeds_and_ids_depend_on_inputs() -> None:
    """On the run's seed, the text of the prefix and its occurrence among the traces."""
    engine = Scripted(replies={"": ("yes",)})
    base = context_of(engine, TRACE, 1)
    same = context_of(engine, TRACE, 1)
    other_seed = context_of(engine, TRACE, 2)
    # The second trace of the problem has the same steps, so its prefix occurs for the second time.
    second = replace(base.trace, trace_id="second")
    traces = {base.trace.trace_id: base.trace, "second": second}
    services_of_second = services(engine, seed=1)
    other_occurrence = AnnotationContext(
        services_of_second, "test", PROBLEM, second, ProblemGroup(traces=traces)
    )
    rollouts = list[Rollout]()
    for context in (base, same, other_seed, other_occurrence):
        rollouts.extend(await context.rollouts(1, 1))
    rollouts.extend(await base.rollouts(2, 1))
    ids = column(rollouts, "rollout_id")
    seeds = column(rollouts, "seed")
    assert (ids[0], seeds[0]) == (ids[1], seeds[1])
    assert len(set(ids)) == len(set(seeds)) == 4


async def test_judge_seeds_differ_by_request() -> None:
    seeds: list[int] = []

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        seeds.append(sampling.seed)
        return "yes"

    engine = Scripted(respond=respond)
    for trace, seed in [(TRACE, 0), (TRACE, 1), (trace_of(4), 0)]:
        await context_of(engine, trace).ask(Prompt(user="?"), Sampling(seed=seed))
    assert len(set(seeds)) == 3
    assert {seed % SEED_SPACING for seed in seeds} == {0}


async def test_cost_counts_every_request() -> None:
    completion = Completion(
        text="yes", finish_reason="stop", prompt_tokens=10, cached_tokens=3, generated_tokens=2
    )
    context = context_of(Scripted(respond=lambda *_: completion))
    await context.rollouts(1, 4)
    await context.ask(Prompt(user="?"), Sampling(n=2))
    assert context.cost == Cost(rollouts=4, prompt_tokens=60, cached_tokens=18, generated_tokens=12)
