"""Traces of simulated policies: easy, hard, long and noisy."""

from collections.abc import Mapping, Sequence

from annotators.context import Grade
from benchmarks.common.services import standalone_services
from benchmarks.efficiency.ground_truth import GroundTruth
from benchmarks.efficiency.rollout_cache import RolloutCache
from benchmarks.efficiency.simulated_policy import Policy
from engines.base import Prompt
from engines.scripted import Scripted
from stepmark import final_answers
from stepmark.identity import digest, seed_for
from stepmark.records import NO_ERROR, Problem, Sampling, Trace, Verdict
from stepmark.steps import split

__all__ = ["POLICIES", "simulate_traces"]

SAMPLES_PER_PROBLEM = 8
# `reliability` is the mean probability of a correct step, a larger `spread` makes steps more equal,
# and `harmless` is the probability that a solution with a mistake has the correct answer.
POLICIES: Mapping[str, Policy] = {
    "easy": Policy(steps=6, reliability=0.95, spread=20),
    "hard": Policy(steps=8, reliability=0.85, spread=10),
    "long": Policy(steps=16, reliability=0.95, spread=10),
    "noisy": Policy(steps=8, reliability=0.9, spread=5, harmless=0.15),
}


async def simulate_traces(policy: Policy, wrong_traces: int) -> GroundTruth:
    """Sample problems until at least `wrong_traces` of their traces are wrong.

    Annotated are the wrong traces that contain a mistake and the correct ones without any, the
    wrong traces first.
    """
    cache = RolloutCache(engine=Scripted(respond=policy.respond))
    problems = dict[str, Problem]()
    traces = list[Trace]()
    for problem in policy.problems(wrong_traces):
        problems[problem.problem_id] = problem
        traces += await _sample_traces(cache, problem, policy.__class__.__name__)
        if sum(trace.outcome is Verdict.INCORRECT for trace in traces) >= wrong_traces:
            break
    return GroundTruth(
        services=standalone_services(seed=1, engine=cache, grade=_grade),
        cache=cache,
        problems=problems,
        traces=traces,
        first_errors=_first_errors(policy, traces),
        annotations={trace.trace_id: {} for trace in traces},
    )


async def _sample_traces(cache: RolloutCache, problem: Problem, model: str) -> Sequence[Trace]:
    sampling = Sampling(n=SAMPLES_PER_PROBLEM, seed=seed_for("trace", problem.problem_id))
    completions = await cache.complete(Prompt(user=problem.question), sampling)
    traces = list[Trace]()
    for index, completion in enumerate(completions):
        grade = await _grade(completion.text, completion.finish_reason, problem.answer)
        trace = Trace(
            trace_id=digest(problem.problem_id, index),
            problem_id=problem.problem_id,
            steps=split(completion.text, "line"),
            final_answer=grade.final_answer,
            outcome=grade.outcome,
            outcome_reason=grade.reason,
            model=model,
            generated_tokens=completion.generated_tokens,
        )
        traces.append(trace)
    return traces


def _first_errors(policy: Policy, traces: Sequence[Trace]) -> Mapping[str, int]:
    first_errors = dict[str, int]()
    for trace in sorted(traces, key=lambda trace: trace.outcome is Verdict.CORRECT):
        first_error = policy.first_error(trace)
        is_correct = trace.outcome is Verdict.CORRECT
        # Left out: solutions with a mistake and the correct answer.
        if is_correct == (first_error == NO_ERROR):
            first_errors[trace.trace_id] = first_error
    return first_errors


async def _grade(text: str, finish_reason: str, reference: str | None) -> Grade:
    answer = final_answers.final_answer(text)
    outcome = Verdict.INCORRECT
    if answer == reference:
        outcome = Verdict.CORRECT
    return Grade(final_answer=answer, outcome=outcome, reason=finish_reason)
