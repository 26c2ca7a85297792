"""Monte Carlo finds the first error where rollouts stop being right, at K rollouts for every prefix but the whole trace."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from annotators.context import AnnotationContext
from annotators.methods.monte_carlo import IMPLIED, MonteCarlo
from annotators.running import run
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.identity import SEED_SPACING
from stepmark.records import NO_ERROR, Sampling, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    U,
    cut,
    done_by,
    family,
    last_sample_solves,
    services,
    solves_with,
    trace_of,
    verdicts,
)

LONGEST = 10

always_solves = solves_with(1.0)


@pytest.mark.parametrize("rollouts", [1, 3, 8])
async def test_names_every_first_error_exactly_and_at_its_price(rollouts: int) -> None:
    for steps in range(1, LONGEST + 1):
        for error in range(NO_ERROR, steps):
            done = await done_by(
                MonteCarlo(rollouts=rollouts), trace_of(steps, error), last_sample_solves
            )
            assert done.annotation.first_error == error, (steps, error)
            assert (
                done.annotation.cost.rollouts
                == len(done.context.sampled_rollouts)
                == (steps - 1) * rollouts
            )
            sound = steps if error == NO_ERROR else error
            assert verdicts(done.annotation) == "c" * sound + "i" * (steps - sound)


async def test_asks_once_for_every_prefix_but_the_empty_and_the_whole() -> None:
    done = await done_by(MonteCarlo(rollouts=5), trace_of(4), last_sample_solves)
    assert sorted(
        (prompt.prefix.count("\n"), sampling.n) for prompt, sampling in done.requests
    ) == [(1, 5), (2, 5), (3, 5)]


async def test_the_value_is_the_share_of_right_rollouts() -> None:
    done = await done_by(MonteCarlo(rollouts=400), trace_of(3, 1), solves_with(0.25))
    first, second, last = done.annotation.steps
    right = [
        rollout.prefix_steps for rollout in done.context.sampled_rollouts if rollout.outcome is C
    ]
    assert first.value == first.successes / first.trials == len(right) / 400
    assert first.value == pytest.approx(0.25, abs=0.1)
    assert set(right) == {1}
    assert (second.value, last.value) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("outcome", "first_error", "value"), [(C, NO_ERROR, 1.0), (I, 2, 0.0), (U, None, None)]
)
async def test_the_last_step_is_worth_what_the_trace_came_to(
    outcome: Verdict, first_error: int | None, value: float | None
) -> None:
    done = await done_by(MonteCarlo(rollouts=2), trace_of(3, outcome=outcome), last_sample_solves)
    assert done.annotation.first_error == first_error
    assert (done.annotation.steps[-1].verdict, done.annotation.steps[-1].value) == (outcome, value)


async def test_cut_rollouts_decide_nothing() -> None:
    done = await done_by(MonteCarlo(rollouts=4), trace_of(4, 1), cut)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuui")
    assert [(step.trials, step.unknowns) for step in done.annotation.steps] == [(0, 4)] * 3 + [
        (1, 0)
    ]


async def test_one_decided_rollout_among_cut_ones_decides() -> None:
    def mostly_cut(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        return (
            last_sample_solves(prompt, sampling, index)
            if index == sampling.n - 1
            else cut(prompt, sampling, index)
        )

    done = await done_by(MonteCarlo(rollouts=4), trace_of(4, 2), mostly_cut)
    assert done.annotation.first_error == 2
    assert {(step.trials, step.unknowns) for step in done.annotation.steps[:-1]} == {(1, 3)}


@pytest.mark.parametrize("rollouts", [1, 2, 5, 8])
async def test_stopping_early_finds_the_same_first_errors(rollouts: int) -> None:
    stingy, whole = MonteCarlo(rollouts=rollouts, stop_early=True), MonteCarlo(rollouts=rollouts)
    for steps in range(1, LONGEST + 1):
        for error in range(NO_ERROR, steps):
            early, full = [
                await done_by(method, trace_of(steps, error), always_solves)
                for method in (stingy, whole)
            ]
            assert verdicts(early.annotation) == verdicts(full.annotation)
            assert early.annotation.first_error == error
            behind = max(steps - 1 - error, 0) if error != NO_ERROR else 0
            assert (
                early.annotation.cost.rollouts + early.annotation.cost.aborted
                <= behind * rollouts + (steps - 1 - behind)
            )


async def test_stopping_early_buys_the_first_of_the_same_rollouts() -> None:
    for trace in (trace_of(6, error) for error in range(NO_ERROR, 6)):
        early, full = [
            await done_by(MonteCarlo(stop_early=stop), trace, solves_with(0.3))
            for stop in (True, False)
        ]
        whole = {
            rollout.rollout_id: replace(rollout, prompt_tokens=0)
            for rollout in full.context.sampled_rollouts
        }
        assert all(
            whole[rollout.rollout_id] == replace(rollout, prompt_tokens=0)
            for rollout in early.context.sampled_rollouts
        )
        implied = [step.rationale == IMPLIED for step in early.annotation.steps]
        for index, (mine, theirs) in enumerate(
            zip(early.annotation.steps, full.annotation.steps, strict=True)
        ):
            assert mine.verdict is (C if implied[index] else theirs.verdict)
        last_right = max(
            (prefix for prefix in range(1, 6) if full.annotation.steps[prefix - 1].successes),
            default=1,
        )
        assert implied == [index + 1 < last_right for index in range(6)]


async def test_waves_double_and_end_with_the_first_right_rollout() -> None:
    def solves_at_the_fourth(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return "yes" if sampling.seed % SEED_SPACING + index == 3 else "no"

    for method, waves in (
        (MonteCarlo(stop_early=True), [1, 1, 2]),
        (MonteCarlo(rollouts=3, stop_early=True), [1, 1, 1]),
    ):
        done = await done_by(method, trace_of(2), solves_at_the_fourth)
        assert [sampling.n for _, sampling in done.requests] == waves
    never = await done_by(MonteCarlo(rollouts=11, stop_early=True), trace_of(2, 0), always_solves)
    assert [sampling.n for _, sampling in never.requests] == [1, 1, 2, 4, 3]
    assert [(step.value, step.trials) for step in never.annotation.steps] == [(0.0, 11), (0.0, 1)]


@pytest.mark.parametrize("slow", range(1, 6))
async def test_labels_do_not_depend_on_which_reply_comes_first(slow: int) -> None:
    """Whichever prefix is waited for longest: what a later one proves is not waited for, and is labelled all the same."""

    class Uneven(Scripted):
        async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
            await asyncio.sleep(60 if prompt.prefix.count("\n") == slow and slow < 4 else 0)
            return await super().complete(prompt, sampling)

    trace = trace_of(6, 4)
    context = AnnotationContext(
        services(Uneven(respond=always_solves)), "simulated", PROBLEM, trace, family(trace, (C, I))
    )
    annotation = await run(
        MonteCarlo(stop_early=True), "method", "fingerprint", PROBLEM, trace, context
    )
    expected = (await done_by(MonteCarlo(stop_early=True), trace, always_solves)).annotation
    assert annotation.steps == expected.steps
    assert [step.rationale for step in annotation.steps] == [IMPLIED] * 3 + [""] * 3
    assert (
        context.cost.aborted > 0 or slow >= 4
    )  # where none is slow, how many are still open when one is proven is of no matter


async def test_without_a_reference_answer_nothing_is_asked() -> None:
    done = await done_by(
        MonteCarlo(), trace_of(4), last_sample_solves, problem=replace(PROBLEM, answer=None)
    )
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (
        None,
        "uuuu",
        [],
    )
    assert done.annotation.steps[0].rationale == "no reference answer to grade rollouts with"
