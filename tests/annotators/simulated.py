"""A policy that can be simulated: from a sound prefix it may solve the problem, behind the wrong step it never does."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from annotators.base import Annotator
from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.running import run
from engines.base import Completion, Engine, Prompt
from engines.scripted import Scripted
from stepmark import plugins
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, Trace, Verdict
from verifiers.base import Claim, Finding

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741

PROBLEM = Problem(problem_id="p", question="How many?", answer="4", domain="test", source="test")
SAMPLING = Sampling(temperature=0.7, max_tokens=64)
# As a scripted engine asks what would be said, to score a text: nothing is drawn.
READING = Sampling(temperature=0.0)
WRONG = "wrong"

Respond = Callable[[Prompt, Sampling, int], str | Completion]


def trace_of(steps: int, error: int = NO_ERROR, outcome: Verdict | None = None) -> Trace:
    """A trace of so many steps, wrong from step `error` on."""
    texts = tuple(f"{WRONG if index == error else 'sound'} {index}\n" for index in range(steps))
    right = C if error == NO_ERROR else I
    return Trace(
        trace_id=f"{steps}/{error}",
        problem_id="p",
        steps=texts,
        final_answer="4",
        outcome=outcome or right,
        outcome_reason="simulated",
        model="simulated",
    )


def family(trace: Trace, outcomes: Sequence[Verdict]) -> ProblemGroup:
    """A problem's traces, of these outcomes; of the trace itself it matters only that it is one of them."""
    return ProblemGroup(
        traces={
            f"sibling {index}": replace(trace, outcome=outcome)
            for index, outcome in enumerate(outcomes)
        }
    )


def last_sample_solves(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """The least that a sound prefix can show: one right rollout, the last of its request."""
    return "yes" if WRONG not in prompt.prefix and index == sampling.n - 1 else "no"


def solves_with(chance: float) -> Respond:
    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        lucky = random.Random(sampling.seed + index).random() < chance
        return "yes" if lucky and WRONG not in prompt.prefix else "no"

    return respond


def cut(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
    """Cut at the last token, with a verdict and an answer in it all the same."""
    text = "Step 1: incorrect\nno"
    return Completion(
        text=text, finish_reason="length", prompt_tokens=9, cached_tokens=0, generated_tokens=4
    )


async def grade(text: str, finish_reason: str, reference: str | None) -> Grade:
    outcome = U if finish_reason != "stop" else C if text.endswith("yes") else I
    return Grade(final_answer=text[-3:], outcome=outcome, reason=finish_reason)


async def verify(verifier: str, claim: Claim) -> Finding:
    finding: Finding = plugins.build("verifiers", {"use": verifier}).verify(claim)
    return finding


def services(
    engine: Engine | None, judge_engine: Engine | None = None, seed: int = 1
) -> RunServices:
    return RunServices(
        seed=seed,
        engine=engine,
        judge_engine=judge_engine,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=SAMPLING,
        grade=grade,
        verify=verify,
    )


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a method said of a trace, and what it asked for."""

    annotation: Annotation
    context: AnnotationContext
    requests: Sequence[tuple[Prompt, Sampling]]


def recording(respond: Respond) -> tuple[Scripted, list[tuple[Prompt, Sampling]]]:
    """The policy as an engine, and the requests that it will have had."""
    requests: list[tuple[Prompt, Sampling]] = []

    def recorded(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if index == 0 and sampling != READING:
            requests.append((prompt, sampling))
        return respond(prompt, sampling, index)

    return Scripted(respond=recorded), requests


async def done_by(
    annotator: Annotator,
    trace: Trace,
    respond: Respond,
    *,
    siblings: Sequence[Verdict] = (C, I),
    problem: Problem = PROBLEM,
) -> Done:
    """Run a method on one trace, the policy being rollout engine and judge at once."""
    engine, requests = recording(respond)
    context = AnnotationContext(
        services(engine, engine), "simulated", problem, trace, family(trace, siblings)
    )
    annotation = await run(annotator, "method", "fingerprint", problem, trace, context)
    return Done(annotation=annotation, context=context, requests=requests)


def verdicts(annotation: Annotation) -> str:
    """The steps' verdicts as initials: "cciu"."""
    return "".join(step.verdict[0] for step in annotation.steps)
