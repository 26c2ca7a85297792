"""The contract of every annotator that works on one trace, checked for each plugin."""

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
from stepmark.records import NO_ERROR, Rollout, Sampling, StepAnnotation, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    WRONG,
    C,
    I,
    Respond,
    TraceRun,
    U,
    annotate_trace,
    cut,
    last_sample_solves,
    problem_group_of,
    services,
    solves_with,
    trace_of,
)
from tests.columns import column

METHODS = [
    name for name in available("annotators") if hasattr(load("annotators", name), "annotate")
]
ENGINE_METHODS = [name for name in METHODS if load("annotators", name).needs]
STEP_METHODS = [name for name in METHODS if name != "outcome"]
"""The methods that look for the step with the error; `outcome` repeats the grade for all steps."""
GENERATING_METHODS = [name for name in ENGINE_METHODS if name != "answer_likelihood"]
"""The methods that generate text; `answer_likelihood` only scores it."""
JUDGES = frozenset({"judge_engine", "judge_engines"})
ENGINES = frozenset({"engine"}) | JUDGES
PARAMETERS: dict[str, dict[str, Any]] = {
    "binary_search": {"right_answers": "search", "stop_early": True},
    "monte_carlo": {"stop_early": True},
    "judge": {"prompt": ["judge_json", "step", "reverse"], "meta": "meta"},
}
"""Parameters that exercise more of a method than the defaults do."""


def judge_truthfully(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """Return the true verdicts when asked for verdicts, else a rollout."""
    if prompt.prefix or "Step 1: " not in prompt.user:
        return last_sample_solves(prompt, sampling, index)
    reply = list[str]()
    verdict = "correct"
    for line in prompt.user.splitlines():
        if line.startswith("Step ") and ("sound" in line or WRONG in line):
            # Every step after the wrong one is incorrect too.
            if WRONG in line:
                verdict = "incorrect"
            reply.append(f"Step {len(reply) + 1}: {verdict}")
    return "\n".join(reply)


CONTRADICTORY = "Step 1: correct\nStep 1: incorrect\nStep 99: correct\nStep 2: incorrect\nyes"
POLICIES: dict[str, Respond] = {
    "truthful": judge_truthfully,
    "random": solves_with(0.5),
    "truncated": cut,
    "empty": lambda *_: "",
    "contradictory": lambda *_: CONTRADICTORY,
    "hostile": lambda *_: "\n" * 10_000 + "\0\ud800{question}",
}


def contract_traces() -> list[Trace]:
    """Return short traces with every first error, and wrong ones with every outcome."""
    traces = list[Trace]()
    for steps in (1, 2, 5):
        for error in range(NO_ERROR, steps):
            traces.append(trace_of(steps, error))
    for steps in (0, 1, 4):
        for outcome in Verdict:
            traces.append(trace_of(steps, 0, outcome))
    return traces


def methods(name: str) -> list[Annotator]:
    """Build a method with its defaults and with `PARAMETERS`."""
    default = build("annotators", {"use": name})
    configured = build("annotators", {"use": name, **PARAMETERS.get(name, {})})
    return [default, configured]


def check_annotation(trace: Trace, done: TraceRun) -> None:
    annotation = done.annotation
    assert (annotation.trace_id, annotation.error) == (trace.trace_id, None)
    assert (annotation.method, annotation.fingerprint) == ("method", "fingerprint")
    assert len(annotation.steps) == len(trace.steps)
    assert annotation.first_error in (None, NO_ERROR, *range(len(trace.steps)))
    assert annotation.confidence is None or 0 <= annotation.confidence <= 1
    for step in annotation.steps:
        assert step.value is None or 0 <= step.value <= 1
        assert 0 <= step.successes <= step.trials
        assert step.unknowns >= 0


def check_rollouts(trace: Trace, done: TraceRun) -> None:
    cost = done.annotation.cost
    rollouts: list[Rollout] = done.context.sampled_rollouts
    assert cost.rollouts == len(rollouts)
    assert cost.generated_tokens >= sum(column(rollouts, "generated_tokens"))
    ids = set(column(rollouts, "rollout_id"))
    samples = set(column(rollouts, "prefix_steps", "seed"))
    assert len(ids) == len(samples) == len(rollouts)
    for rollout in rollouts:
        assert rollout.trace_id == trace.trace_id
        assert 0 <= rollout.prefix_steps < len(trace.steps)


def check_seeds(done: TraceRun) -> None:
    """Check that no two completions of different requests share a seed."""
    seeds = set[int]()
    for _, sampling in done.requests:
        assert 1 <= sampling.n <= SEED_SPACING - sampling.seed % SEED_SPACING
        seeds.add(sampling.seed)
    assert len(seeds) == len(done.requests)


@pytest.mark.parametrize("name", METHODS)
def test_plugin_declares_version_and_needs(name: str) -> None:
    method = build("annotators", {"use": name})
    assert dataclasses.is_dataclass(load("annotators", name))
    assert isinstance(load("annotators", name).version, int)
    assert method.needs <= ENGINES
    assert fingerprint(method) == fingerprint(build("annotators", {"use": name}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.version = 2


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", METHODS)
async def test_annotation_is_valid_for_any_reply(name: str, policy: str) -> None:
    for method in methods(name):
        for trace in contract_traces():
            done = await annotate_trace(method, trace, POLICIES[policy])
            check_annotation(trace, done)
            check_rollouts(trace, done)
            check_seeds(done)


@pytest.mark.parametrize("name", STEP_METHODS)
async def test_truthful_policy_yields_true_first_error(name: str) -> None:
    for method in methods(name):
        for steps in (2, 3, 6):
            for error in range(NO_ERROR, steps):
                annotation = (
                    await annotate_trace(method, trace_of(steps, error), judge_truthfully)
                ).annotation
                assert annotation.first_error in (None, error)
                assert column(annotation.steps[: max(error, 0)], "verdict").count(I) == 0


@pytest.mark.parametrize("name", STEP_METHODS)
async def test_truncated_replies_are_never_incorrect(name: str) -> None:
    for method in methods(name):
        for outcome in Verdict:
            done = await annotate_trace(method, trace_of(5, 1, outcome), cut)
            if done.annotation.posterior and outcome is C:
                # For a method with a posterior the correct answer alone is evidence on the steps.
                continue
            *earlier, last = done.annotation.steps
            assert set(column(earlier, "verdict")) == {U}
            assert last.verdict in (U, outcome)
            assert done.annotation.first_error is None or (done.annotation.confidence or 1.0) < 0.5


@pytest.mark.parametrize("name", ENGINE_METHODS)
async def test_rejected_request_is_recorded_as_error(name: str) -> None:
    def reject(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("the prompt is too long", retryable=False)

    for method in methods(name):
        annotation = (await annotate_trace(method, trace_of(5, 1), reject)).annotation
        assert annotation.error == "EngineError: the prompt is too long"
        assert (annotation.first_error, annotation.confidence) == (None, None)
        assert annotation.steps == (StepAnnotation(),) * 5


@pytest.mark.parametrize("name", ENGINE_METHODS)
async def test_unavailable_engine_propagates(name: str) -> None:
    def fail(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("connection refused", retryable=True)

    for method in methods(name):
        with pytest.raises(EngineError, match="connection refused"):
            await annotate_trace(method, trace_of(5, 1), fail)


@pytest.mark.parametrize("name", GENERATING_METHODS)
async def test_cost_equals_generated_tokens(name: str) -> None:
    generated = 0

    def count_tokens(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        nonlocal generated
        generated += 7
        return Completion(
            text="yes", finish_reason="stop", prompt_tokens=5, cached_tokens=2, generated_tokens=7
        )

    for method in methods(name):
        generated = 0
        cost = (await annotate_trace(method, trace_of(6, 1), count_tokens)).annotation.cost
        assert cost.generated_tokens == generated > 0
        assert (cost.prompt_tokens * 7, cost.cached_tokens * 7) == (generated * 5, generated * 2)


@pytest.mark.parametrize("name", METHODS)
async def test_repeated_run_is_identical(name: str) -> None:
    trace = trace_of(6, 2, C)
    for method in methods(name):
        first = await annotate_trace(method, trace, POLICIES["random"])
        second = await annotate_trace(method, trace, POLICIES["random"])
        assert first.requests == second.requests
        assert first.context.sampled_rollouts == second.context.sampled_rollouts
        assert first.annotation.steps == second.annotation.steps


@pytest.mark.parametrize("name", METHODS)
async def test_only_declared_engines_are_used(name: str) -> None:
    trace = trace_of(4, 1)
    scripted = Scripted(respond=judge_truthfully)
    for method in methods(name):
        engine = scripted if "engine" in method.needs else None
        judges = [scripted] if method.needs & JUDGES else []
        context = AnnotationContext(
            services(engine, *judges),
            "contract",
            PROBLEM,
            trace,
            problem_group_of(trace, (C, I)),
        )
        annotation = await run(method, "method", "", PROBLEM, trace, context)
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
            "annotators has no 'montecarlo'; it has:"
            " adaptive_search, answer_likelihood, binary_search, ",
        ),
    ],
)
def test_invalid_parameters_are_rejected(table: dict[str, Any], message: str) -> None:
    kind = "labelers" if table["use"] == "consensus" else "annotators"
    with pytest.raises(PluginError) as error:
        build(kind, table)
    assert message in str(error.value)
