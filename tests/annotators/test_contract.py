"""What every annotator owes, held against each plugin that is found."""

import dataclasses
from typing import Any

import pytest

from annotators.base import Annotator
from annotators.context import AnnotationContext
from annotators.running import run
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.errors import EngineError, PluginError
from stepmark.identity import SEED_SPACING, fingerprint
from stepmark.plugins import available, build, load
from stepmark.records import NO_ERROR, Sampling, StepAnnotation, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    WRONG,
    C,
    Done,
    I,
    Respond,
    U,
    cut,
    done_by,
    family,
    last_sample_solves,
    services,
    solves_with,
    trace_of,
)

METHODS = [
    name for name in available("annotators") if hasattr(load("annotators", name), "annotate")
]
ASKING = [name for name in METHODS if load("annotators", name).needs]
WRITING = [name for name in ASKING if name != "answer_likelihood"]
"""The methods that have an engine write; the others have it read."""
DOORS = frozenset({"engine", "judge_engine"})
MORE: dict[str, dict[str, Any]] = {
    "binary_search": {"right_answers": "search", "stop_early": True},
    "monte_carlo": {"stop_early": True},
    "judge": {"prompt": ["judge_json", "step", "reverse"], "meta": "meta"},
}
"""Parameters under which a method does more than by default."""


def judges(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """A rollout, or the true verdicts where verdicts are asked for."""
    if prompt.prefix or "Step 1: " not in prompt.user:
        return last_sample_solves(prompt, sampling, index)
    lines = [
        line
        for line in prompt.user.splitlines()
        if line.startswith("Step ") and ("sound" in line or WRONG in line)
    ]
    wrong = next((number for number, line in enumerate(lines) if WRONG in line), len(lines))
    return "\n".join(
        f"Step {number + 1}: {'correct' if number < wrong else 'incorrect'}"
        for number in range(len(lines))
    )


POLICIES: dict[str, Respond] = {
    "true": judges,
    "wavering": solves_with(0.5),
    "cut": cut,
    "mute": lambda *_: "",
    "babbling": lambda *_: (
        "Step 1: correct\nStep 1: incorrect\nStep 99: correct\nStep 2: incorrect\nyes"
    ),
    "hostile": lambda *_: "\n" * 10_000 + "\0\ud800{question}",
}
TRACES = [
    *(trace_of(steps, error) for steps in (1, 2, 5) for error in range(NO_ERROR, steps)),
    *(trace_of(steps, 0, outcome) for steps in (0, 1, 4) for outcome in Verdict),
]


def methods(name: str) -> list[Annotator]:
    return [build("annotators", {"use": name, **more}) for more in ({}, MORE.get(name, {}))]


def check(trace: Trace, done: Done) -> None:
    annotation, spent = done.annotation, done.context.sampled_rollouts
    assert annotation.error is None
    assert (annotation.trace_id, annotation.method, annotation.fingerprint) == (
        trace.trace_id,
        "method",
        "fingerprint",
    )
    assert len(annotation.steps) == len(trace.steps)
    assert annotation.first_error in (None, NO_ERROR, *range(len(trace.steps)))
    assert annotation.confidence is None or 0 <= annotation.confidence <= 1
    for step in annotation.steps:
        assert step.value is None or 0 <= step.value <= 1
        assert 0 <= step.successes <= step.trials
        assert step.unknowns >= 0
    assert annotation.cost.rollouts == len(spent)
    assert annotation.cost.generated_tokens >= sum(rollout.generated_tokens for rollout in spent)
    assert (
        len({rollout.rollout_id for rollout in spent})
        == len({(r.prefix_steps, r.seed) for r in spent})
        == len(spent)
    )
    assert all(
        rollout.trace_id == trace.trace_id and 0 <= rollout.prefix_steps < len(trace.steps)
        for rollout in spent
    )
    seeds = [sampling.seed for _, sampling in done.requests]
    assert len(set(seeds)) == len(seeds)
    assert all(
        1 <= sampling.n <= SEED_SPACING - sampling.seed % SEED_SPACING
        for _, sampling in done.requests
    )


@pytest.mark.parametrize("name", METHODS)
def test_is_a_frozen_dataclass_with_a_version_and_known_needs(name: str) -> None:
    method = build("annotators", {"use": name})
    assert dataclasses.is_dataclass(load("annotators", name))
    assert isinstance(load("annotators", name).version, int)
    assert method.needs <= DOORS
    assert fingerprint(method) == fingerprint(build("annotators", {"use": name}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.version = 2


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", METHODS)
async def test_whatever_the_model_says_the_annotation_is_in_order(name: str, policy: str) -> None:
    for method in methods(name):
        for trace in TRACES:
            check(trace, await done_by(method, trace, POLICIES[policy]))


@pytest.mark.parametrize("name", METHODS)
async def test_under_a_true_policy_no_first_error_is_made_up(name: str) -> None:
    for method in methods(name):
        for steps in (2, 3, 6):
            for error in range(NO_ERROR, steps):
                annotation = (await done_by(method, trace_of(steps, error), judges)).annotation
                assert annotation.first_error in (None, error)
                assert [step.verdict for step in annotation.steps[: max(error, 0)]].count(I) == 0


@pytest.mark.parametrize("name", METHODS)
async def test_what_was_cut_is_unknown_and_never_wrong(name: str) -> None:
    for method in methods(name):
        for outcome in Verdict:
            trace = trace_of(5, 1, outcome)
            done = await done_by(method, trace, cut)
            if done.annotation.posterior and outcome is C:
                continue  # a right answer alone speaks for its steps
            *before, last = done.annotation.steps
            assert {step.verdict for step in before} == {U}
            assert last.verdict in (U, outcome)
            assert done.annotation.first_error is None or (done.annotation.confidence or 1.0) < 0.5


@pytest.mark.parametrize("name", ASKING)
async def test_a_request_that_is_refused_is_an_error_and_no_label(name: str) -> None:
    def refuses(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("the prompt is too long", retryable=False)

    for method in methods(name):
        annotation = (await done_by(method, trace_of(5, 1), refuses)).annotation
        assert annotation.error == "EngineError: the prompt is too long"
        assert (annotation.first_error, annotation.confidence, annotation.steps) == (
            None,
            None,
            (StepAnnotation(),) * 5,
        )


@pytest.mark.parametrize("name", ASKING)
async def test_an_engine_that_is_down_is_nobodys_label(name: str) -> None:
    def is_down(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("connection refused", retryable=True)

    for method in methods(name):
        with pytest.raises(EngineError, match="connection refused"):
            await done_by(method, trace_of(5, 1), is_down)


@pytest.mark.parametrize("name", WRITING)
async def test_the_bill_is_what_the_engine_wrote(name: str) -> None:
    written = 0

    def counts(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        nonlocal written
        written += 7
        return Completion(
            text="yes", finish_reason="stop", prompt_tokens=5, cached_tokens=2, generated_tokens=7
        )

    for method in methods(name):
        written = 0
        cost = (await done_by(method, trace_of(6, 1), counts)).annotation.cost
        assert cost.generated_tokens == written > 0
        assert (cost.prompt_tokens * 7, cost.cached_tokens * 7) == (written * 5, written * 2)


@pytest.mark.parametrize("name", METHODS)
async def test_the_same_run_asks_for_the_same_things(name: str) -> None:
    for method in methods(name):
        first, second = [
            await done_by(method, trace_of(6, 2, C), POLICIES["wavering"]) for _ in range(2)
        ]
        assert first.requests == second.requests
        assert first.context.sampled_rollouts == second.context.sampled_rollouts
        assert first.annotation.steps == second.annotation.steps


@pytest.mark.parametrize("name", METHODS)
async def test_a_method_uses_no_door_but_those_it_names(name: str) -> None:
    for method in methods(name):
        open_ = {door: Scripted(respond=judges) if door in method.needs else None for door in DOORS}
        context = AnnotationContext(
            services(open_["engine"], open_["judge_engine"]),
            "contract",
            PROBLEM,
            trace_of(4, 1),
            family(trace_of(4, 1), (C, I)),
        )
        annotation = await run(method, "method", "", PROBLEM, trace_of(4, 1), context)
        assert annotation.error is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"use": "monte_carlo", "rollouts": 0},
            "monte_carlo: rollouts: Input should be greater than or equal to 1",
        ),
        (
            {"use": "monte_carlo", "rollouts": 2000},
            "monte_carlo: rollouts: Input should be less than or equal to 1024",
        ),
        (
            {"use": "binary_search", "rollouts": -1},
            "binary_search: rollouts: Input should be greater than or equal to 1",
        ),
        (
            {"use": "binary_search", "right_answers": "maybe"},
            "binary_search: right_answers: Input should be 'skip' or 'search'",
        ),
        ({"use": "judge", "votes": 0}, "judge: votes: Input should be greater than or equal to 1"),
        (
            {"use": "consensus", "rule": "dice"},
            "consensus: rule: Input should be 'mc_and_judge' or 'majority'",
        ),
        (
            {"use": "montecarlo"},
            "annotators has no 'montecarlo'; it has: adaptive_search, answer_likelihood, binary_search, ",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(table: dict[str, Any], message: str) -> None:
    kind = "labelers" if table["use"] == "consensus" else "annotators"
    with pytest.raises(PluginError) as refusal:
        build(kind, table)
    assert message in str(refusal.value)
