"""Running a problem annotator: discovered traces, costs per trace, and recorded failures."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from annotators.base import ProblemAnnotator
from annotators.context import ProblemContext
from annotators.failures import abstention
from stepmark.errors import ConfigError, EngineError
from stepmark.plugins import available, build, load
from stepmark.records import Annotation, Discovered, Problem, StepAnnotation, Trace
from tests.annotators.problem_simulation import (
    ProblemRun,
    annotate_problem,
    fixed_texts,
    random_walks,
    sample_traces,
)
from tests.annotators.simulated import PROBLEM, SAMPLING, C
from tests.columns import column

PROBLEM_ANNOTATORS = [
    name
    for name in available("annotators")
    if hasattr(load("annotators", name), "annotate_problem")
]
POLICY = random_walks(0.8)

AnnotateProblem = Callable[[Sequence[Trace], ProblemContext], Awaitable[Sequence[Annotation]]]


@dataclass(frozen=True, kw_only=True)
class FunctionAnnotator:
    """A problem annotator that calls a function."""

    function: AnnotateProblem
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate_problem(
        self, problem: Problem, traces: Sequence[Trace], context: ProblemContext
    ) -> Sequence[Annotation]:
        return await self.function(traces, context)


async def run_function(function: AnnotateProblem, *texts: str) -> ProblemRun:
    """Run a function on traces with these texts, or on two samples of the policy."""
    if texts:
        traces = await sample_traces(fixed_texts(*texts), len(texts))
    else:
        traces = await sample_traces(POLICY, 2)
    return await annotate_problem(FunctionAnnotator(function=function), traces, POLICY)


def abstentions(traces: Sequence[Trace], reason: str = "") -> list[Annotation]:
    return [abstention(trace, reason) for trace in traces]


async def discover_three(traces: Sequence[Trace], context: ProblemContext) -> list[Discovered]:
    """Discover two traces from the first trace, and one from the first of these two."""
    discovered = list[Discovered]()
    for rollout in await context.rollouts(traces[0], 1, 2):
        discovered.append(context.discover(traces[0], rollout))
    first = discovered[0]
    for rollout in await context.rollouts(first, 2, 1):
        discovered.append(context.discover(first, rollout))
    return discovered


async def test_discovered_traces_can_be_continued() -> None:
    async def annotate(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        return abstentions([*await discover_three(traces, context), *traces])

    run = await run_function(annotate)
    first, second, third = run.context.discovered
    assert column(run.annotations, "trace_id") == [
        "own 1.0",
        "own 1.1",
        first.trace_id,
        second.trace_id,
        third.trace_id,
    ]
    last_rollout = run.sampled_rollouts[2]
    assert (third.parent_trace_id, third.parent_steps) == (first.trace_id, 2)
    assert third.steps[:2] == first.steps[:2]
    assert "".join(third.steps[2:]) == last_rollout.text
    assert third.model == "scripted"
    assert third.sampling == replace(SAMPLING, n=1, seed=last_rollout.seed)
    assert len(set(column(run.sampled_rollouts, "rollout_id"))) == 3
    assert len(set(column(run.all_traces, "trace_id"))) == 5


async def test_cost_is_recorded_per_trace() -> None:
    async def annotate(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        return abstentions([*traces, *await discover_three(traces, context)])

    run = await run_function(annotate)
    assert column(run.annotations, "cost.rollouts") == [2, 0, 1, 0, 0]
    assert len(set(column(run.annotations, "cost.seconds"))) == 1
    for annotation in run.annotations:
        assert (annotation.method, annotation.fingerprint) == ("method", "fingerprint")
        assert annotation.error is None


async def test_prefix_boundaries_are_preserved() -> None:
    """Splitting the whole text again would join the empty lines to the first step."""

    async def annotate(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        (rollout,) = await context.rollouts(traces[0], 1, 1)
        # As in a dataset of a version that did not store the steps of rollouts.
        rollout = replace(rollout, text="\n  \nthree\nfour", steps=None)
        discovered = context.discover(traces[0], rollout)
        assert discovered.steps == ("one\n", "\n  \nthree\n", "four")
        assert "".join(discovered.steps) == "one\n\n  \nthree\nfour"
        return abstentions([*traces, discovered])

    run = await run_function(annotate, "one\ntwo\nyes")
    assert column(run.annotations, "error") == [None, None]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        EngineError("too long", retryable=False),
        ExceptionGroup("of tasks", [KeyError("x")]),
    ],
)
async def test_failure_is_recorded_for_every_trace(error: Exception) -> None:
    async def fail(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        await discover_three(traces, context)
        raise error

    run = await run_function(fail)
    for trace, annotation in zip(run.all_traces, run.annotations, strict=True):
        assert annotation.error in ("KeyError: 'x'", "EngineError: too long")
        assert (annotation.trace_id, annotation.first_error) == (trace.trace_id, None)
        assert annotation.steps == (StepAnnotation(),) * len(trace.steps)
    rollouts = sum(column(run.annotations, "cost.rollouts"))
    assert rollouts == len(run.sampled_rollouts) == 3


@pytest.mark.parametrize("error", [EngineError("down", retryable=True), ConfigError("fix me")])
async def test_retryable_and_user_errors_propagate(error: Exception) -> None:
    async def fail(_traces: Sequence[Trace], _context: ProblemContext) -> Sequence[Annotation]:
        raise ExceptionGroup("of tasks", [KeyError("x"), error])

    with pytest.raises(type(error)):
        await run_function(fail)


async def test_wrong_annotation_count_is_failure() -> None:
    async def omit_traces(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        await discover_three(traces, context)
        return abstentions(traces)

    async def omit_steps(traces: Sequence[Trace], _context: ProblemContext) -> Sequence[Annotation]:
        return abstentions([replace(trace, steps=trace.steps[:1]) for trace in traces])

    for function, expected in (
        (omit_traces, "ValueError: 2 annotations for 5 traces"),
        (omit_steps, "ValueError: 1 step annotations for 7 steps"),
    ):
        run = await run_function(function)
        assert set(column(run.annotations, "error")) == {expected}


async def test_traces_without_steps_are_skipped() -> None:
    async def annotate(traces: Sequence[Trace], _context: ProblemContext) -> Sequence[Annotation]:
        assert column(traces, "trace_id") == ["own 1.1"]
        return abstentions(traces, "mine")

    run = await run_function(annotate, "", "yes")
    assert column(run.annotations, "steps") == [
        (),
        (StepAnnotation(rationale="mine"),),
    ]
    assert column(run.annotations, "error") == [None, None]
    run = await run_function(annotate, "")
    assert column(run.annotations, "error") == [None]


async def test_policy_samples_need_model_and_sampling() -> None:
    async def annotate(traces: Sequence[Trace], _context: ProblemContext) -> Sequence[Annotation]:
        return abstentions(traces)

    (trace,) = await sample_traces(POLICY, 1)
    context = (await run_function(annotate)).context
    assert trace.sampling is not None
    assert context.is_policy_sample(trace)
    assert context.is_policy_sample(replace(trace, sampling=replace(trace.sampling, seed=5, n=8)))
    changes: list[dict[str, Any]] = [
        {"model": "another"},
        {"sampling": None},
        {"sampling": replace(trace.sampling, temperature=0.1)},
    ]
    for change in changes:
        assert not context.is_policy_sample(replace(trace, **change))


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("name", PROBLEM_ANNOTATORS)
async def test_engine_error_propagates_or_is_recorded(name: str, retryable: bool) -> None:
    def fail(*_: object) -> str:
        raise EngineError("no", retryable=retryable)

    method: ProblemAnnotator = build("annotators", {"use": name})
    traces = await sample_traces(POLICY, 8)
    assert set(column(traces, "outcome")) > {C}
    if retryable:
        with pytest.raises(EngineError):
            await annotate_problem(method, traces, fail, PROBLEM)
    else:
        run = await annotate_problem(method, traces, fail, PROBLEM)
        assert set(column(run.annotations, "error")) == {"EngineError: no"}
