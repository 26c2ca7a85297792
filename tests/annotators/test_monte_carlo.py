"""Monte Carlo finds the first error where rollouts stop being right, at K rollouts for every prefix but the whole trace."""

from dataclasses import replace

import pytest

from annotators.monte_carlo import MonteCarlo
from engines.base import Completion, Prompt
from stepmark.records import NO_ERROR, Sampling, Verdict
from tests.annotators.simulated import PROBLEM, C, I, U, cut, done_by, last_sample_solves, solves_with, trace_of, verdicts

LONGEST = 10


@pytest.mark.parametrize("rollouts", [1, 3, 8])
async def test_names_every_first_error_exactly_and_at_its_price(rollouts: int) -> None:
    for steps in range(1, LONGEST + 1):
        for error in range(NO_ERROR, steps):
            done = await done_by(MonteCarlo(rollouts=rollouts), trace_of(steps, error), last_sample_solves)
            assert done.annotation.first_error == error, (steps, error)
            assert done.annotation.cost.rollouts == len(done.tools.spent) == (steps - 1) * rollouts
            sound = steps if error == NO_ERROR else error
            assert verdicts(done.annotation) == "c" * sound + "i" * (steps - sound)


async def test_asks_once_for_every_prefix_but_the_empty_and_the_whole() -> None:
    done = await done_by(MonteCarlo(rollouts=5), trace_of(4), last_sample_solves)
    assert sorted((prompt.prefix.count("\n"), sampling.n) for prompt, sampling in done.requests) == [(1, 5), (2, 5), (3, 5)]


async def test_the_value_is_the_share_of_right_rollouts() -> None:
    done = await done_by(MonteCarlo(rollouts=400), trace_of(3, 1), solves_with(0.25))
    first, second, last = done.annotation.steps
    right = [rollout.prefix_steps for rollout in done.tools.spent if rollout.outcome is C]
    assert first.value == first.successes / first.trials == len(right) / 400
    assert first.value == pytest.approx(0.25, abs=0.1)
    assert set(right) == {1}
    assert (second.value, last.value) == (0.0, 0.0)


@pytest.mark.parametrize(("outcome", "first_error", "value"), [(C, NO_ERROR, 1.0), (I, 2, 0.0), (U, None, None)])
async def test_the_last_step_is_worth_what_the_trace_came_to(outcome: Verdict, first_error: int | None, value: float | None) -> None:
    done = await done_by(MonteCarlo(rollouts=2), trace_of(3, outcome=outcome), last_sample_solves)
    assert done.annotation.first_error == first_error
    assert (done.annotation.steps[-1].verdict, done.annotation.steps[-1].value) == (outcome, value)


async def test_cut_rollouts_decide_nothing() -> None:
    done = await done_by(MonteCarlo(rollouts=4), trace_of(4, 1), cut)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuui")
    assert [(step.trials, step.unknowns) for step in done.annotation.steps] == [(0, 4)] * 3 + [(1, 0)]


async def test_one_decided_rollout_among_cut_ones_decides() -> None:
    def mostly_cut(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        return last_sample_solves(prompt, sampling, index) if index == sampling.n - 1 else cut(prompt, sampling, index)

    done = await done_by(MonteCarlo(rollouts=4), trace_of(4, 2), mostly_cut)
    assert done.annotation.first_error == 2
    assert {(step.trials, step.unknowns) for step in done.annotation.steps[:-1]} == {(1, 3)}


async def test_without_a_reference_answer_nothing_is_asked() -> None:
    done = await done_by(MonteCarlo(), trace_of(4), last_sample_solves, problem=replace(PROBLEM, answer=None))
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (None, "uuuu", [])
    assert done.annotation.steps[0].rationale == "no reference answer to grade rollouts with"
