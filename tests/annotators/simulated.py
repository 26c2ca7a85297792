"""A simulated policy that may solve the problem from sound prefixes only."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from annotators.base import Annotator
from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.running import run
from engines.base import Completion, Engine, Prompt
from engines.scripted import Scripted
from stepmark import plugins
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, Trace, Verdict
from stepmark.steps import split
from verifiers.base import Claim, Finding

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN

PROBLEM = Problem(problem_id="p", question="How many?", answer="4", domain="test", source="test")
split_lines = partial(split, how="line")
SAMPLING = Sampling(temperature=0.7, max_tokens=64)
# How a scripted engine obtains its own reply when it scores a text; nothing is sampled.
READING = Sampling(temperature=0.0)
WRONG = "wrong"

Respond = Callable[[Prompt, Sampling, int], str | Completion]


def trace_of(steps: int, error: int = NO_ERROR, outcome: Verdict | None = None) -> Trace:
    """Return a trace with this many steps, whose step `error` is wrong."""
    texts = list[str]()
    for index in range(steps):
        word = "sound"
        if index == error:
            word = WRONG
        texts.append(f"{word} {index}\n")
    if outcome is None:
        outcome = C if error == NO_ERROR else I
    return Trace(
        trace_id=f"{steps}/{error}",
        problem_id="p",
        steps=tuple(texts),
        final_answer="4",
        outcome=outcome,
        outcome_reason="simulated",
        model="simulated",
    )


def problem_group_of(trace: Trace, outcomes: Sequence[Verdict]) -> ProblemGroup:
    """Return a problem's traces: copies of one trace with these outcomes."""
    traces: dict[str, Trace] = {}
    for index, outcome in enumerate(outcomes):
        traces[f"sibling {index}"] = replace(trace, outcome=outcome)
    return ProblemGroup(traces=traces)


def last_sample_solves(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """Solve the problem from sound prefixes, but only in the last sample of a request.

    One correct rollout is the least evidence that a sound prefix can give.
    """
    if WRONG not in prompt.prefix and index == sampling.n - 1:
        return "yes"
    return "no"


def solves_with(chance: float) -> Respond:
    """Return a policy that solves the problem from sound prefixes with this probability."""

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        succeeds = random.Random(sampling.seed + index).random() < chance
        if succeeds and WRONG not in prompt.prefix:
            return "yes"
        return "no"

    return respond


def cut(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
    """Return a truncated reply that nevertheless contains a verdict and an answer."""
    text = "Step 1: incorrect\nno"
    return Completion(
        text=text, finish_reason="length", prompt_tokens=9, cached_tokens=0, generated_tokens=4
    )


async def grade(text: str, finish_reason: str, reference: str | None) -> Grade:
    """Grade "yes" as correct and everything else as incorrect; truncated texts are unknown."""
    outcome = I
    if finish_reason != "stop":
        outcome = U
    elif text.endswith("yes"):
        outcome = C
    return Grade(final_answer=text[-3:], outcome=outcome, reason=finish_reason)


async def verify(verifier: str, claim: Claim) -> Finding:
    """Verify a claim in this process."""
    finding: Finding = plugins.build("verifiers", {"use": verifier}).verify(claim)
    return finding


def services(engine: Engine | None, *judges: Engine, seed: int = 1) -> RunServices:
    """Return the services of a run with these engines."""
    return RunServices(
        seed=seed,
        engine=engine,
        judges=judges,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=SAMPLING,
        split=split_lines,
        grade=grade,
        verify=verify,
    )


@dataclass(frozen=True, kw_only=True)
class TraceRun:
    """A method's annotation of a trace, its context and its requests."""

    annotation: Annotation
    context: AnnotationContext
    requests: Sequence[tuple[Prompt, Sampling]]


def sample_counts(requests: Sequence[tuple[Prompt, Sampling]]) -> list[int]:
    """Return how many samples each request asks for."""
    return [sampling.n for _, sampling in requests]


def recording(respond: Respond) -> tuple[Scripted, list[tuple[Prompt, Sampling]]]:
    """Return the policy as an engine, and a list to which it adds every request."""
    requests: list[tuple[Prompt, Sampling]] = []

    def recorded(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        # Called once per sample, and the samples of a request are one request.
        if index == 0 and sampling != READING:
            requests.append((prompt, sampling))
        return respond(prompt, sampling, index)

    return Scripted(respond=recorded), requests


async def annotate_trace(
    annotator: Annotator,
    trace: Trace,
    respond: Respond,
    *,
    siblings: Sequence[Verdict] = (C, I),
    problem: Problem = PROBLEM,
) -> TraceRun:
    """Run a method on one trace. The policy is both the rollout engine and the judge."""
    engine, requests = recording(respond)
    group = problem_group_of(trace, siblings)
    context = AnnotationContext(services(engine, engine), "simulated", problem, trace, group)
    annotation = await run(annotator, "method", "fingerprint", problem, trace, context)
    return TraceRun(annotation=annotation, context=context, requests=requests)


def verdicts(annotation: Annotation) -> str:
    """Return the initials of the steps' verdicts, such as "cciu"."""
    return "".join(step.verdict[0] for step in annotation.steps)
