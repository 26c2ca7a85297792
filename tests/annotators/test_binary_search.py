"""Binary search finds the first error that Monte Carlo finds, at the logarithm of its price."""

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
    cut,
    done_by,
    last_sample_solves,
    solves_with,
    trace_of,
    verdicts,
)

LONGEST = 17
SEARCH = BinarySearch(rollouts=2, right_answers="search")


@pytest.mark.parametrize("rollouts", [1, 4, 8])
async def test_names_every_first_error_exactly_and_at_its_price(rollouts: int) -> None:
    for steps in range(1, LONGEST + 1):
        for error in range(steps):
            done = await done_by(
                BinarySearch(rollouts=rollouts), trace_of(steps, error), last_sample_solves
            )
            assert done.annotation.first_error == error, (steps, error)
            assert (
                done.annotation.cost.rollouts
                == len(done.context.sampled_rollouts)
                <= ceil(log2(steps)) * rollouts
            )
            assert verdicts(done.annotation) == "c" * error + "i" + "u" * (steps - error - 1)


async def test_searches_right_answers_when_told() -> None:
    for steps in range(2, LONGEST + 1):
        for error in range(steps - 1):
            done = await done_by(SEARCH, trace_of(steps, error, outcome=C), last_sample_solves)
            assert done.annotation.first_error == error, (steps, error)
            assert len(done.context.sampled_rollouts) <= (1 + ceil(log2(steps - 1))) * 2


@pytest.mark.parametrize(("steps", "price"), [(1, 0), (2, 2), (9, 2)])
async def test_a_right_answer_without_an_error_costs_one_probe(steps: int, price: int) -> None:
    done = await done_by(SEARCH, trace_of(steps), last_sample_solves)
    assert (
        done.annotation.first_error,
        verdicts(done.annotation),
        len(done.context.sampled_rollouts),
    ) == (NO_ERROR, "c" * steps, price)


async def test_stopping_early_takes_the_same_way_for_less() -> None:
    for error in range(LONGEST):
        trace = trace_of(LONGEST, error)
        early, full = [
            await done_by(BinarySearch(stop_early=stop), trace, solves_with(0.6))
            for stop in (True, False)
        ]
        assert verdicts(early.annotation) == verdicts(full.annotation)
        assert {rollout.rollout_id for rollout in early.context.sampled_rollouts} <= {
            rollout.rollout_id for rollout in full.context.sampled_rollouts
        }
        decided = [step for step in early.annotation.steps if step.trials]
        assert {step.value for step in decided if step.successes} <= {None}
        assert {(step.value, step.trials) for step in decided if not step.successes} <= {(0.0, 8)}


async def test_probes_are_kept_as_values_and_the_rest_has_none() -> None:
    done = await done_by(BinarySearch(rollouts=200), trace_of(8, 2), solves_with(0.5))
    counted = {rollout.prefix_steps for rollout in done.context.sampled_rollouts}
    assert (
        {index + 1 for index, step in enumerate(done.annotation.steps) if step.trials}
        == counted
        == {2, 3, 4}
    )
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
async def test_what_cannot_be_searched_is_left_undecided_for_nothing(
    trace: Trace, siblings: tuple[Verdict, ...], problem: Problem, reason: str
) -> None:
    done = await done_by(
        BinarySearch(), trace, last_sample_solves, siblings=siblings, problem=problem
    )
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (
        None,
        "uuuu",
        [],
    )
    assert {step.rationale for step in done.annotation.steps} == {reason}


@pytest.mark.parametrize("trace", [trace_of(9, 3), trace_of(9, 3, outcome=C)])
async def test_a_probe_that_decides_nothing_ends_the_search(trace: Trace) -> None:
    done = await done_by(SEARCH, trace, cut)
    assert (done.annotation.first_error, verdicts(done.annotation), len(done.requests)) == (
        None,
        "u" * 9,
        1,
    )


async def test_what_was_found_before_such_a_probe_is_kept() -> None:
    def cuts_long_prefixes(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        return (cut if prompt.prefix.count("\n") > 4 else last_sample_solves)(
            prompt, sampling, index
        )

    done = await done_by(SEARCH, trace_of(8, 6), cuts_long_prefixes)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "ccccuuuu")
