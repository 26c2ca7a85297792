"""Outcome: the grade of the final answer on every step."""

import pytest

from annotators.base import CostBound
from annotators.methods.outcome import Outcome
from stepmark.records import Cost, StepAnnotation, Verdict
from tests.annotators.simulated import C, I, U, annotate_trace, last_sample_solves, trace_of
from tests.columns import column


@pytest.mark.parametrize(
    ("outcome", "value", "first_error"), [(C, 1.0, -1), (I, 0.0, 0), (U, None, None)]
)
async def test_every_step_has_the_outcome(
    outcome: Verdict, value: float | None, first_error: int | None
) -> None:
    done = await annotate_trace(Outcome(), trace_of(3, 1, outcome), last_sample_solves)
    annotation = done.annotation
    assert column(annotation.steps, "verdict", "value") == [(outcome, value)] * 3
    assert (annotation.first_error, annotation.confidence) == (first_error, None)
    assert done.requests == []


async def test_trace_without_steps_has_no_error() -> None:
    done = await annotate_trace(Outcome(), trace_of(0, 0, I), last_sample_solves)
    assert (done.annotation.first_error, done.annotation.steps) == (None, ())


async def test_unknown_outcome_gives_its_reason() -> None:
    trace = trace_of(2, 0, U)
    done = await annotate_trace(Outcome(), trace, last_sample_solves)
    assert done.annotation.steps == (StepAnnotation(rationale=trace.outcome_reason),) * 2


async def test_outcome_costs_nothing() -> None:
    assert Outcome().cost_bound([5, 7], judges=1) == CostBound()
    done = await annotate_trace(Outcome(), trace_of(3, 1, I), last_sample_solves)
    cost = done.annotation.cost
    assert (cost.rollouts, cost.generated_tokens) == (Cost().rollouts, Cost().generated_tokens)
