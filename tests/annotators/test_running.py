"""Running an annotator: provenance and costs are filled in, and failures are recorded."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from annotators.context import AnnotationContext
from annotators.failures import abstention
from annotators.running import run
from engines.scripted import Scripted
from stepmark.errors import ConfigError, EngineError
from stepmark.records import Annotation, Problem, StepAnnotation, Trace
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    last_sample_solves,
    problem_group_of,
    services,
    trace_of,
)
from tests.columns import column

TRACE = trace_of(3)

Annotate = Callable[[AnnotationContext], Awaitable[Annotation]]


@dataclass(frozen=True, kw_only=True)
class FunctionAnnotator:
    """An annotator that calls a function."""

    function: Annotate
    needs: ClassVar[frozenset[str]] = frozenset()

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        return await self.function(context)


async def run_function(function: Annotate, trace: Trace = TRACE) -> Annotation:
    engine = Scripted(respond=last_sample_solves)
    context = AnnotationContext(
        services(engine, engine), "test", PROBLEM, trace, problem_group_of(trace, (C, I))
    )
    return await run(FunctionAnnotator(function=function), "m", "f", PROBLEM, trace, context)


async def test_provenance_and_cost_are_filled_in() -> None:
    async def abstain(context: AnnotationContext) -> Annotation:
        await context.rollouts(1, 4)
        return abstention(TRACE, "why")

    annotation = await run_function(abstain)
    assert (annotation.method, annotation.fingerprint, annotation.error) == ("m", "f", None)
    assert (annotation.cost.rollouts, annotation.cost.generated_tokens) == (4, 4)
    assert 0 < annotation.cost.waited_seconds < annotation.cost.seconds
    assert column(annotation.steps, "rationale") == ["why"] * 3


async def test_neutral_steps_are_failures() -> None:
    async def rate(context: AnnotationContext) -> Annotation:
        return replace(abstention(TRACE, ""), neutral_steps=(0,))

    annotation = await run_function(rate)
    assert annotation.error == "ValueError: neutral steps, which only imported annotations can have"
    assert annotation.neutral_steps == ()


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (EngineError("too long", retryable=False), "EngineError: too long"),
        (KeyError("x"), "KeyError: 'x'"),
        (TimeoutError(), "TimeoutError: "),
    ],
)
async def test_failure_is_recorded_without_verdict(error: Exception, recorded: str) -> None:
    async def fail(context: AnnotationContext) -> Annotation:
        await context.rollouts(1, 2)
        raise error

    annotation = await run_function(fail)
    assert (annotation.error, annotation.first_error) == (recorded, None)
    assert annotation.steps == (StepAnnotation(),) * 3
    assert (annotation.method, annotation.cost.rollouts) == ("m", 2)


@pytest.mark.parametrize(
    "error", [EngineError("down", retryable=True), ConfigError("fix me"), asyncio.CancelledError()]
)
async def test_retryable_and_user_errors_propagate(error: BaseException) -> None:
    async def fail(_context: AnnotationContext) -> Annotation:
        raise error

    with pytest.raises(type(error)):
        await run_function(fail)


async def test_retryable_error_leaves_task_group() -> None:
    async def fail() -> None:
        raise EngineError("down", retryable=True)

    async def fail_in_task(_context: AnnotationContext) -> Annotation:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        return abstention(TRACE, "not reached")

    with pytest.raises(EngineError, match="down"):
        await run_function(fail_in_task)


async def test_wrong_step_count_is_failure() -> None:
    async def annotate_other_trace(_context: AnnotationContext) -> Annotation:
        return abstention(trace_of(5), "")

    annotation = await run_function(annotate_other_trace)
    assert annotation.error == "ValueError: 5 step annotations for 3 steps"
    assert len(annotation.steps) == 3


async def test_trace_without_steps_is_skipped() -> None:
    async def fail(_context: AnnotationContext) -> Annotation:
        raise AssertionError

    annotation = await run_function(fail, trace_of(0))
    assert (annotation.steps, annotation.first_error) == ((), None)
    assert (annotation.error, annotation.method) == (None, "m")
