"""Binary search locates the first error that Monte Carlo finds, with fewer rollouts."""

from dataclasses import replace
from math import ceil, log2

import pytest

from annotators.methods.binary_search import BinarySearch
from engines.base import Completion, Prompt
from stepmark.records import NO_ERROR, Problem, Sampling, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    U,
    annotate_trace,
    cut,
    last_sample_solves,
    solves_with,
    trace_of,
    verdicts,
)
from tests.columns import column

MAX_STEPS = 17
SEARCH = BinarySearch(rollouts=2, right_answers="search")


@pytest.mark.parametrize("rollouts", [1, 4, 8])
async def test_first_error_and_cost_are_exact(rollouts: int) -> None:
    method = BinarySearch(rollouts=rollouts)
    for steps in range(1, MAX_STEPS + 1):
        for error in range(steps):
            done = await annotate_trace(method, trace_of(steps, error), last_sample_solves)
            sampled = len(done.context.sampled_rollouts)
            assert done.annotation.first_error == error, (steps, error)
            assert done.annotation.cost.rollouts == sampled <= ceil(log2(steps)) * rollouts
            assert verdicts(done.annotation) == "c" * error + "i" + "u" * (steps - error - 1)


async def test_correct_answers_are_searched_on_request() -> None:
    for steps in range(2, MAX_STEPS + 1):
        for error in range(steps - 1):
            done = await annotate_trace(
                SEARCH, trace_of(steps, error, outcome=C), last_sample_solves
            )
            assert done.annotation.first_error == error, (steps, error)
            assert len(done.context.sampled_rollouts) <= (1 + ceil(log2(steps - 1))) * 2


@pytest.mark.parametrize(("steps", "rollouts"), [(1, 0), (2, 2), (9, 2)])
async def test_correct_trace_costs_one_probe(steps: int, rollouts: int) -> None:
    done = await annotate_trace(SEARCH, trace_of(steps), last_sample_solves)
    assert done.annotation.first_error == NO_ERROR
    assert verdicts(done.annotation) == "c" * steps
    assert len(done.context.sampled_rollouts) == rollouts


async def test_early_stopping_gives_same_labels() -> None:
    for error in range(MAX_STEPS):
        trace = trace_of(MAX_STEPS, error)
        early = await annotate_trace(BinarySearch(stop_early=True), trace, solves_with(0.6))
        full = await annotate_trace(BinarySearch(stop_early=False), trace, solves_with(0.6))
        assert verdicts(early.annotation) == verdicts(full.annotation)
        early_ids = set(column(early.context.sampled_rollouts, "rollout_id"))
        full_ids = set(column(full.context.sampled_rollouts, "rollout_id"))
        assert early_ids <= full_ids
        for step in early.annotation.steps:
            if step.successes:
                assert step.value is None
            elif step.trials:
                assert (step.value, step.trials) == (0.0, 8)


async def test_only_probed_steps_have_values() -> None:
    done = await annotate_trace(BinarySearch(rollouts=200), trace_of(8, 2), solves_with(0.5))
    probed = set(column(done.context.sampled_rollouts, "prefix_steps"))
    counted = set[int]()
    for index, step in enumerate(done.annotation.steps):
        if step.trials:
            counted.add(index + 1)
    assert counted == probed == {2, 3, 4}
    # More than four standard errors of 200 rollouts.
    assert done.annotation.steps[1].value == pytest.approx(0.5, abs=0.15)
    assert [done.annotation.steps[index].value for index in (0, 2, 3, 7)] == [None, 0.0, 0.0, None]


@pytest.mark.parametrize(
    ("trace", "siblings", "problem", "reason"),
    [
        (trace_of(4, 1, outcome=U), (C, U), PROBLEM, "outcome unknown: simulated"),
        (trace_of(4, 1), (I, I, U), PROBLEM, "no sample solves the problem"),
        (trace_of(4), (C, I), PROBLEM, "right answer, not searched"),
        (
            trace_of(4, 1),
            (C, I),
            replace(PROBLEM, answer=None),
            "no reference answer to grade rollouts with",
        ),
    ],
)
async def test_abstains_without_requests(
    trace: Trace, siblings: tuple[Verdict, ...], problem: Problem, reason: str
) -> None:
    done = await annotate_trace(
        BinarySearch(), trace, last_sample_solves, siblings=siblings, problem=problem
    )
    assert (done.annotation.first_error, done.requests) == (None, [])
    assert verdicts(done.annotation) == "uuuu"
    assert set(column(done.annotation.steps, "rationale")) == {reason}


@pytest.mark.parametrize("trace", [trace_of(9, 3), trace_of(9, 3, outcome=C)])
async def test_undecided_probe_ends_search(trace: Trace) -> None:
    done = await annotate_trace(SEARCH, trace, cut)
    assert (done.annotation.first_error, len(done.requests)) == (None, 1)
    assert verdicts(done.annotation) == "u" * 9


async def test_earlier_probes_survive_undecided_probe() -> None:
    def truncate_long_prefixes(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        respond = cut if prompt.prefix.count("\n") > 4 else last_sample_solves
        return respond(prompt, sampling, index)

    done = await annotate_trace(SEARCH, trace_of(8, 6), truncate_long_prefixes)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "ccccuuuu")
