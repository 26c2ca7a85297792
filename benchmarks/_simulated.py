"""Ground of the simulated policy: easy, hard, long and noisy, by what `Policy` is told."""

from collections.abc import Mapping

from annotators.context import Grade, RunServices
from benchmarks._bank import Bank
from benchmarks._ground import Ground
from benchmarks._policy import Policy
from engines.base import Prompt
from engines.scripted import Scripted
from stepmark import final_answers as answers
from stepmark.identity import digest, seed_for
from stepmark.records import NO_ERROR, Problem, Sampling, Trace, Verdict
from stepmark.steps import split
from verifiers.base import Claim, Finding

__all__ = ["POLICIES", "SAMPLES", "ground"]

SAMPLES = 8
POLICIES: Mapping[str, Policy] = {
    "easy": Policy(steps=6, reliability=0.95, spread=20),
    "hard": Policy(steps=8, reliability=0.85, spread=10),
    "long": Policy(steps=16, reliability=0.95, spread=10),
    "noisy": Policy(steps=8, reliability=0.9, spread=5, harmless=0.15),
}
"""Reliability is the chance of a step, on average; spread says how little steps differ; harmless is epsilon, what becomes of a mistake."""


async def ground(policy: Policy, wrong: int) -> Ground:
    """All wrong traces of problems, and the right ones without an error, until there are `wrong` wrong ones."""
    bank = Bank(engine=Scripted(respond=policy.respond))
    problems, traces = dict[str, Problem](), list[Trace]()
    for problem in policy.problems(wrong):
        problems[problem.problem_id] = problem
        sampling = Sampling(n=SAMPLES, seed=seed_for("trace", problem.problem_id))
        for index, one in enumerate(await bank.complete(Prompt(user=problem.question), sampling)):
            graded = await _grade(one.text, one.finish_reason, problem.answer)
            traces.append(
                Trace(
                    trace_id=digest(problem.problem_id, index),
                    problem_id=problem.problem_id,
                    steps=split(one.text, "line"),
                    final_answer=graded.final_answer,
                    outcome=graded.outcome,
                    outcome_reason=graded.reason,
                    model=policy.__class__.__name__,
                    generated_tokens=one.generated_tokens,
                )
            )
        if sum(trace.outcome is Verdict.INCORRECT for trace in traces) >= wrong:
            break
    truth = {
        trace.trace_id: policy.first_error(trace)
        for trace in sorted(traces, key=lambda trace: trace.outcome is Verdict.CORRECT)
    }
    sound = {trace.trace_id for trace in traces if trace.outcome is Verdict.CORRECT}
    return Ground(
        services=_services(bank),
        bank=bank,
        problems=problems,
        traces=traces,
        truth={
            trace_id: error
            for trace_id, error in truth.items()
            if (error == NO_ERROR) == (trace_id in sound)
        },
        said={trace.trace_id: {} for trace in traces},
    )


def _services(bank: Bank) -> RunServices:
    return RunServices(
        seed=1,
        engine=bank,
        judge_engine=None,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        grade=_grade,
        verify=_verify,
    )


async def _grade(text: str, finish_reason: str, reference: str | None) -> Grade:
    answer = answers.final_answer(text)
    return Grade(
        final_answer=answer,
        outcome=Verdict.CORRECT if answer == reference else Verdict.INCORRECT,
        reason=finish_reason,
    )


async def _verify(verifier: str, claim: Claim) -> Finding:
    raise AssertionError("no method here asks for a verifier")
