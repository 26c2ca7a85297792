"""What an explorer is owed: traces of its rollouts, a bill by trace, and failures that are records of all it had in hand."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from annotators.base import ProblemAnnotator
from annotators.context import ProblemContext
from annotators.failures import abstention
from stepmark.errors import ConfigError, EngineError
from stepmark.plugins import available, build, load
from stepmark.records import Annotation, Discovered, Problem, StepAnnotation, Trace
from tests.annotators.exploring import Explored, explored_by, sampled, walks, written
from tests.annotators.simulated import PROBLEM, SAMPLING, C

EXPLORERS = [
    name
    for name in available("annotators")
    if hasattr(load("annotators", name), "annotate_problem")
]
POLICY = walks(0.8)

Deed = Callable[[Sequence[Trace], ProblemContext], Awaitable[Sequence[Annotation]]]


@dataclass(frozen=True, kw_only=True)
class Doing:
    """An explorer that does as told."""

    deed: Deed
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate_problem(
        self, problem: Problem, traces: Sequence[Trace], context: ProblemContext
    ) -> Sequence[Annotation]:
        return await self.deed(traces, context)


async def done_by(deed: Deed, *texts: str) -> Explored:
    return await explored_by(
        Doing(deed=deed),
        await sampled(written(*texts) if texts else POLICY, len(texts) or 2),
        POLICY,
    )


async def continued(traces: Sequence[Trace], context: ProblemContext) -> list[Discovered]:
    """Two rollouts from the first trace, each made a trace, and one from the first of these."""
    first = [
        context.discover(traces[0], rollout) for rollout in await context.rollouts(traces[0], 1, 2)
    ]
    return first + [
        context.discover(first[0], rollout) for rollout in await context.rollouts(first[0], 2, 1)
    ]


async def test_a_rollout_becomes_a_trace_that_can_be_continued() -> None:
    async def deed(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        return [abstention(trace, "") for trace in (*await continued(traces, context), *traces)]

    done = await done_by(deed)
    first, second, third = done.context.discovered
    assert [annotation.trace_id for annotation in done.annotations] == [
        "own 1.0",
        "own 1.1",
        *(f.trace_id for f in (first, second, third)),
    ]
    assert (third.parent_trace_id, third.parent_steps, third.steps[:2]) == (
        first.trace_id,
        2,
        first.steps[:2],
    )
    assert "".join(third.steps[2:]) == done.sampled_rollouts[2].text
    assert (third.model, third.sampling) == (
        "scripted",
        replace(SAMPLING, n=1, seed=done.sampled_rollouts[2].seed),
    )
    assert (
        len({rollout.rollout_id for rollout in done.sampled_rollouts})
        == len({trace.trace_id for trace in done.all_traces}) - 2
        == 3
    )


async def test_each_trace_has_its_rollouts_on_its_bill_and_a_share_of_the_time() -> None:
    async def deed(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        return [abstention(trace, "") for trace in (*traces, *await continued(traces, context))]

    done = await done_by(deed)
    assert [annotation.cost.rollouts for annotation in done.annotations] == [2, 0, 1, 0, 0]
    assert len({annotation.cost.seconds for annotation in done.annotations}) == 1
    assert {
        (annotation.method, annotation.fingerprint, annotation.error)
        for annotation in done.annotations
    } == {("method", "fingerprint", None)}


async def test_a_prefix_stays_cut_as_it_was_continued() -> None:
    async def deed(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        (rollout,) = await context.rollouts(traces[0], 1, 1)
        found = context.discover(traces[0], replace(rollout, text="\n  \nthree\nfour"))
        assert (found.steps, "".join(found.steps)) == (
            ("one\n", "\n  \nthree\n", "four"),
            "one\n\n  \nthree\nfour",
        )
        return [abstention(trace, "") for trace in (*traces, found)]

    done = await done_by(deed, "one\ntwo\nyes")
    assert [annotation.error for annotation in done.annotations] == [None, None]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        EngineError("too long", retryable=False),
        ExceptionGroup("of tasks", [KeyError("x")]),
    ],
)
async def test_a_failure_is_the_record_of_every_trace_in_hand(error: Exception) -> None:
    async def deed(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        await continued(traces, context)
        raise error

    done = await done_by(deed)
    assert {annotation.error for annotation in done.annotations} <= {
        "KeyError: 'x'",
        "EngineError: too long",
    }
    assert [annotation.trace_id for annotation in done.annotations] == [
        trace.trace_id for trace in done.all_traces
    ]
    for trace, annotation in zip(done.all_traces, done.annotations, strict=True):
        assert (annotation.first_error, annotation.steps) == (
            None,
            (StepAnnotation(),) * len(trace.steps),
        )
    assert (
        sum(annotation.cost.rollouts for annotation in done.annotations)
        == len(done.sampled_rollouts)
        == 3
    )


@pytest.mark.parametrize("error", [EngineError("down", retryable=True), ConfigError("mend me")])
async def test_what_is_no_traces_fault_passes_through(error: Exception) -> None:
    async def deed(_traces: Sequence[Trace], _tools: ProblemContext) -> Sequence[Annotation]:
        raise ExceptionGroup("of tasks", [KeyError("x"), error])

    with pytest.raises(type(error)):
        await done_by(deed)


async def test_a_trace_that_is_forgotten_or_made_up_is_a_failure() -> None:
    async def forgets(traces: Sequence[Trace], context: ProblemContext) -> Sequence[Annotation]:
        await continued(traces, context)
        return [abstention(trace, "") for trace in traces]

    async def cuts(traces: Sequence[Trace], _tools: ProblemContext) -> Sequence[Annotation]:
        return [abstention(replace(trace, steps=trace.steps[:1]), "") for trace in traces]

    assert {annotation.error for annotation in (await done_by(forgets)).annotations} == {
        "ValueError: 2 annotations for 5 traces"
    }
    assert {annotation.error for annotation in (await done_by(cuts)).annotations} == {
        "ValueError: 1 step annotations for 7 steps"
    }


async def test_traces_without_steps_are_nobodys_work() -> None:
    async def deed(traces: Sequence[Trace], _tools: ProblemContext) -> Sequence[Annotation]:
        assert [trace.trace_id for trace in traces] == ["own 1.1"]
        return [abstention(trace, "mine") for trace in traces]

    done = await done_by(deed, "", "yes")
    assert [(annotation.steps, annotation.error) for annotation in done.annotations] == [
        ((), None),
        ((StepAnnotation(rationale="mine"),), None),
    ]
    done = await done_by(deed, "")
    assert [annotation.error for annotation in done.annotations] == [None]


async def test_only_samples_of_the_same_model_and_temperature_are_drawn_alike() -> None:
    (trace,) = await sampled(POLICY, 1)
    context = (await done_by(lambda traces, _tools: said(traces))).context
    assert trace.sampling is not None
    assert context.is_policy_sample(trace)
    assert context.is_policy_sample(replace(trace, sampling=replace(trace.sampling, seed=5, n=8)))
    others = (
        {"model": "another"},
        {"sampling": None},
        {"sampling": replace(trace.sampling, temperature=0.1)},
    )
    assert not any(context.is_policy_sample(replace(trace, **other)) for other in others)


async def said(traces: Sequence[Trace]) -> Sequence[Annotation]:
    return [abstention(trace, "") for trace in traces]


@pytest.mark.parametrize("name", EXPLORERS)
async def test_an_engine_that_is_down_is_nobodys_label_and_one_that_refuses_is_an_error(
    name: str,
) -> None:
    for retryable in (True, False):

        def fails(*_: object, retryable: bool = retryable) -> str:
            raise EngineError("no", retryable=retryable)

        explorer: ProblemAnnotator = build("annotators", {"use": name})
        traces = await sampled(POLICY, 8)
        assert {trace.outcome for trace in traces} > {C}
        if retryable:
            with pytest.raises(EngineError):
                await explored_by(explorer, traces, fails, PROBLEM)
        else:
            done = await explored_by(explorer, traces, fails, PROBLEM)
            assert {annotation.error for annotation in done.annotations} == {"EngineError: no"}
