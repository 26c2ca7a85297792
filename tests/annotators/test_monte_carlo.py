"""Monte Carlo estimation: labels, soft labels, cost, and early stopping."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from annotators.context import AnnotationContext
from annotators.methods.monte_carlo import IMPLIED_RATIONALE, MonteCarlo
from annotators.running import run
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.identity import SEED_SPACING
from stepmark.records import NO_ERROR, Sampling, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    TraceRun,
    U,
    annotate_trace,
    cut,
    last_sample_solves,
    problem_group_of,
    sample_counts,
    services,
    solves_with,
    trace_of,
    verdicts,
)
from tests.columns import column

MAX_STEPS = 10

always_solves = solves_with(1.0)


@pytest.mark.parametrize("rollouts", [1, 3, 8])
async def test_first_error_and_cost_are_exact(rollouts: int) -> None:
    method = MonteCarlo(rollouts=rollouts)
    for steps in range(1, MAX_STEPS + 1):
        for error in range(NO_ERROR, steps):
            done = await annotate_trace(method, trace_of(steps, error), last_sample_solves)
            sampled = len(done.context.sampled_rollouts)
            sound = steps if error == NO_ERROR else error
            assert done.annotation.first_error == error, (steps, error)
            # The outcome of the complete trace is known, so it needs no rollouts.
            assert done.annotation.cost.rollouts == sampled == (steps - 1) * rollouts
            assert verdicts(done.annotation) == "c" * sound + "i" * (steps - sound)


async def test_one_request_per_inner_prefix() -> None:
    done = await annotate_trace(MonteCarlo(rollouts=5), trace_of(4), last_sample_solves)
    requests = [(prompt.prefix.count("\n"), sampling.n) for prompt, sampling in done.requests]
    assert sorted(requests) == [(1, 5), (2, 5), (3, 5)]


async def test_value_is_share_of_correct_rollouts() -> None:
    done = await annotate_trace(MonteCarlo(rollouts=400), trace_of(3, 1), solves_with(0.25))
    first, second, last = done.annotation.steps
    rollouts = done.context.sampled_rollouts
    correct = [rollout for rollout in rollouts if rollout.outcome is C]
    assert first.value == first.successes / first.trials == len(correct) / 400
    # More than four standard errors of 400 rollouts.
    assert first.value == pytest.approx(0.25, abs=0.1)
    assert set(column(correct, "prefix_steps")) == {1}
    assert (second.value, last.value) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("outcome", "first_error", "value"), [(C, NO_ERROR, 1.0), (I, 2, 0.0), (U, None, None)]
)
async def test_last_step_value_is_outcome(
    outcome: Verdict, first_error: int | None, value: float | None
) -> None:
    done = await annotate_trace(
        MonteCarlo(rollouts=2), trace_of(3, outcome=outcome), last_sample_solves
    )
    assert done.annotation.first_error == first_error
    assert (done.annotation.steps[-1].verdict, done.annotation.steps[-1].value) == (outcome, value)


async def test_truncated_rollouts_decide_nothing() -> None:
    done = await annotate_trace(MonteCarlo(rollouts=4), trace_of(4, 1), cut)
    # The last verdict is the outcome of the trace itself.
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuui")
    counts = column(done.annotation.steps, "trials", "unknowns")
    assert counts == [(0, 4), (0, 4), (0, 4), (1, 0)]


async def test_one_decided_rollout_is_enough() -> None:
    def truncate_all_but_last(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        respond = last_sample_solves if index == sampling.n - 1 else cut
        return respond(prompt, sampling, index)

    done = await annotate_trace(MonteCarlo(rollouts=4), trace_of(4, 2), truncate_all_but_last)
    assert done.annotation.first_error == 2
    assert set(column(done.annotation.steps[:-1], "trials", "unknowns")) == {(1, 3)}


@pytest.mark.parametrize("rollouts", [1, 2, 5, 8])
async def test_early_stopping_gives_same_labels(rollouts: int) -> None:
    early_method = MonteCarlo(rollouts=rollouts, stop_early=True)
    full_method = MonteCarlo(rollouts=rollouts)
    for steps in range(1, MAX_STEPS + 1):
        for error in range(NO_ERROR, steps):
            early = await annotate_trace(early_method, trace_of(steps, error), always_solves)
            full = await annotate_trace(full_method, trace_of(steps, error), always_solves)
            assert verdicts(early.annotation) == verdicts(full.annotation)
            assert early.annotation.first_error == error
            unsound = max(steps - 1 - error, 0) if error != NO_ERROR else 0
            cost = early.annotation.cost
            # One rollout decides a sound prefix, and all of them an unsound one.
            assert cost.rollouts + cost.aborted <= unsound * rollouts + (steps - 1 - unsound)


@pytest.mark.parametrize("error", range(NO_ERROR, 6))
async def test_early_stopping_samples_the_same_rollouts(error: int) -> None:
    trace = trace_of(6, error)
    early = await annotate_trace(MonteCarlo(stop_early=True), trace, solves_with(0.3))
    full = await annotate_trace(MonteCarlo(stop_early=False), trace, solves_with(0.3))
    # Prompt tokens are counted once per request, and early stopping sends more requests.
    full_rollouts = {
        rollout.rollout_id: replace(rollout, prompt_tokens=0)
        for rollout in full.context.sampled_rollouts
    }
    for rollout in early.context.sampled_rollouts:
        assert full_rollouts[rollout.rollout_id] == replace(rollout, prompt_tokens=0)
    check_implied_steps(early, full)


def check_implied_steps(early: TraceRun, full: TraceRun) -> None:
    """Check that exactly the steps before the last correct rollout are implied."""
    last_correct_prefix = 1
    for prefix in range(1, 6):
        if full.annotation.steps[prefix - 1].successes:
            last_correct_prefix = prefix
    for index in range(6):
        step = early.annotation.steps[index]
        is_implied = index + 1 < last_correct_prefix
        assert (step.rationale == IMPLIED_RATIONALE) == is_implied
        assert step.verdict is (C if is_implied else full.annotation.steps[index].verdict)


async def test_batches_double_until_first_correct_rollout() -> None:
    def solves_at_fourth_rollout(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return "yes" if sampling.seed % SEED_SPACING + index == 3 else "no"

    for method, batches in (
        (MonteCarlo(stop_early=True), [1, 1, 2]),
        (MonteCarlo(rollouts=3, stop_early=True), [1, 1, 1]),
    ):
        done = await annotate_trace(method, trace_of(2), solves_at_fourth_rollout)
        assert sample_counts(done.requests) == batches
    unsolved = MonteCarlo(rollouts=11, stop_early=True)
    done = await annotate_trace(unsolved, trace_of(2, 0), always_solves)
    assert sample_counts(done.requests) == [1, 1, 2, 4, 3]
    assert column(done.annotation.steps, "value", "trials") == [(0.0, 11), (0.0, 1)]


@pytest.mark.parametrize("slow_prefix", range(1, 6))
async def test_labels_do_not_depend_on_timing(slow_prefix: int) -> None:
    """A probe that a longer prefix makes superfluous is cancelled, and its label is implied.

    The sound prefixes are 1 to 4, so only the probes of 1 to 3 can be cancelled.
    """

    class SlowForOnePrefix(Scripted):
        async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
            is_slow = prompt.prefix.count("\n") == slow_prefix and slow_prefix < 4
            await asyncio.sleep(60 if is_slow else 0)
            return await super().complete(prompt, sampling)

    trace = trace_of(6, 4)
    engine = SlowForOnePrefix(respond=always_solves)
    context = AnnotationContext(
        services(engine), "simulated", PROBLEM, trace, problem_group_of(trace, (C, I))
    )
    method = MonteCarlo(stop_early=True)
    annotation = await run(method, "method", "fingerprint", PROBLEM, trace, context)
    expected = (await annotate_trace(method, trace, always_solves)).annotation
    assert annotation.steps == expected.steps
    assert column(annotation.steps, "rationale") == [IMPLIED_RATIONALE] * 3 + [""] * 3
    # Without a slow prefix it does not matter how many probes are still open at cancellation.
    assert context.cost.aborted > 0 or slow_prefix >= 4


async def test_abstains_without_reference_answer() -> None:
    problem = replace(PROBLEM, answer=None)
    done = await annotate_trace(MonteCarlo(), trace_of(4), last_sample_solves, problem=problem)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuuu")
    assert done.requests == []
    assert done.annotation.steps[0].rationale == "no reference answer to grade rollouts with"
