"""The contract of annotation methods, on a scripted model."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotators.base import DependsOnAnnotators, FitsPerShard, ProblemAnnotator
from annotators.context import (
    AnnotationContext,
    Grade,
    ProblemContext,
    ProblemGroup,
    RunServices,
)
from annotators.failures import abstention
from annotators.running import run, run_problem
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import HOSTILE_TEXTS, PROBLEM, WRONG, traces
from stepmark import plugins
from stepmark.errors import EngineError
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Cost, Sampling, Trace, Verdict
from stepmark.steps import split
from verifiers.base import Claim, Finding

__all__ = ["CHECKS"]

ENGINES = frozenset({"engine", "judge_engine", "judge_engines"})
# Long enough for all samples and the prompts that quote them.
CONTEXT_TOKENS = 200_000
Respond = Callable[[Prompt, Sampling, int], str | Completion]
Request = tuple[Prompt, Sampling]


def _solve_sometimes(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """Answer right with a probability of one half, but never after a wrong step."""
    succeeds = random.Random(sampling.seed + index).random() < 0.5
    return "yes" if succeeds and WRONG not in prompt.prefix else "no"


def _judge_all_correct(prompt: Prompt, sampling: Sampling, index: int) -> str:
    del sampling, index
    lines = [line for line in prompt.user.splitlines() if line.startswith("Step ")]
    return "\n".join(f"Step {number}: correct" for number in range(1, len(lines) + 1)) or "yes"


def _truncate(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
    del prompt, sampling, index
    return Completion(
        text="Step 1: incorrect\nno",
        finish_reason="length",
        prompt_tokens=9,
        cached_tokens=0,
        generated_tokens=4,
    )


def _hostile(prompt: Prompt, sampling: Sampling, index: int) -> str:
    del prompt
    return HOSTILE_TEXTS[(sampling.seed + index) % len(HOSTILE_TEXTS)]


MODELS: Mapping[str, Respond] = {
    "a model that is sometimes right": _solve_sometimes,
    "a judge that finds no error": _judge_all_correct,
    "truncated replies": _truncate,
    "hostile replies": _hostile,
}


@dataclass(frozen=True, kw_only=True)
class _Result:
    annotations: Sequence[Annotation]
    requests: Sequence[Request]


async def _grade(text: str, finish_reason: str, reference: str | None) -> Grade:
    del reference
    outcome = Verdict.CORRECT if text.endswith("yes") else Verdict.INCORRECT
    if finish_reason != "stop":
        outcome = Verdict.UNKNOWN
    return Grade(final_answer=text[-3:], outcome=outcome, reason=finish_reason)


async def _verify(verifier: str, claim: Claim) -> Finding:
    """Verify a claim in this process: the claims here are short."""
    finding: Finding = plugins.build("verifiers", {"use": verifier}).verify(claim)
    return finding


def _services(method: Any, respond: Respond, requests: list[Request]) -> RunServices:
    """Return services with the engines that the method declares, and no others."""

    def recorded(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        # Called once per sample, and the samples of a request are one request. Scoring samples
        # nothing.
        if index == 0 and sampling.temperature > 0:
            requests.append((prompt, sampling))
        return respond(prompt, sampling, index)

    engine = Scripted(respond=recorded, context=CONTEXT_TOKENS)
    return RunServices(
        seed=1,
        engine=engine if "engine" in method.needs else None,
        judges=(engine,) if method.needs & {"judge_engine", "judge_engines"} else (),
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(temperature=0.7, max_tokens=64),
        split=lambda text: split(text, how="line"),
        grade=_grade,
        verify=_verify,
    )


async def _annotate(method: Any, respond: Respond, trace: Trace) -> _Result:
    """Annotate one trace, alone in its problem but for a copy with another outcome."""
    requests = list[Request]()
    services = _services(method, respond, requests)
    sibling = replace(trace, trace_id="sibling", outcome=Verdict.CORRECT)
    group = ProblemGroup(traces={trace.trace_id: trace, sibling.trace_id: sibling})
    upstream = dict[str, Annotation]()
    if isinstance(method, DependsOnAnnotators):
        upstream = {name: abstention(trace, "a sample") for name in method.evidence}
    context = AnnotationContext(services, "contract", PROBLEM, trace, group, upstream)
    if isinstance(method, ProblemAnnotator):
        if not trace.steps:
            return _Result(annotations=(), requests=requests)
        problem_context = ProblemContext(services, "contract", [context])
        annotations = await run_problem(method, "contract", "fingerprint", problem_context)
        return _Result(annotations=annotations[:1], requests=requests)
    if isinstance(method, FitsPerShard):
        method = await method.fit([context])
    annotation = await run(method, "contract", "fingerprint", PROBLEM, trace, context)
    return _Result(annotations=[annotation], requests=requests)


def _results(subject: Subject, respond: Respond) -> Sequence[tuple[Trace, _Result]]:
    """Annotate all samples."""

    async def annotate_all() -> Sequence[tuple[Trace, _Result]]:
        method = subject.build()
        return [(trace, await _annotate(method, respond, trace)) for trace in traces()]

    return asyncio.run(annotate_all())


def _declares_engines(subject: Subject) -> None:
    needs = getattr(subject.load(), "needs", None)
    require(
        isinstance(needs, frozenset) and needs <= ENGINES,
        f"declare `needs: ClassVar[frozenset[str]]`, a subset of {sorted(ENGINES)}",
    )


def _annotations_are_valid(subject: Subject) -> None:
    for model, respond in MODELS.items():
        for trace, result in _results(subject, respond):
            for annotation in result.annotations:
                where = f"{trace.trace_id}, with {model}"
                require(annotation.error is None, f"{where}: {annotation.error}")
                require(len(annotation.steps) == len(trace.steps), f"{where}: other steps")
                for step in annotation.steps:
                    is_share = step.value is None or 0 <= step.value <= 1
                    require(is_share, f"{where}: a value of {step.value}")


def _is_deterministic(subject: Subject) -> None:
    def comparable(result: _Result) -> Sequence[object]:
        # The times differ.
        return [replace(annotation, cost=Cost()) for annotation in result.annotations]

    first = _results(subject, _solve_sometimes)
    second = _results(subject, _solve_sometimes)
    for (trace, one), (_, other) in zip(first, second, strict=True):
        require(comparable(one) == comparable(other), f"{trace.trace_id}: two results")
        require(one.requests == other.requests, f"{trace.trace_id}: two sequences of requests")


def _seeds_differ(subject: Subject) -> None:
    for trace, result in _results(subject, _solve_sometimes):
        seeds = set[int]()
        for _, sampling in result.requests:
            fits = sampling.n <= SEED_SPACING - sampling.seed % SEED_SPACING
            require(fits, f"{trace.trace_id}: a request for {sampling.n} completions")
            samples = set(range(sampling.seed, sampling.seed + sampling.n))
            require(seeds.isdisjoint(samples), f"{trace.trace_id}: two requests share a seed")
            seeds |= samples


def _unavailable_engine_propagates(subject: Subject) -> None:
    def fail(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("connection refused", retryable=True)

    if not subject.load().needs:
        return
    method = subject.build()
    for trace in traces():
        try:
            result = asyncio.run(_annotate(method, fail, trace))
        except EngineError:
            continue
        for annotation in result.annotations:
            is_decided = annotation.first_error is not None and bool(result.requests)
            require(not is_decided, f"{trace.trace_id}: an engine without answers gave a label")


CHECKS: Sequence[Check] = (
    Check(what="declares the engines that it uses", run=_declares_engines),
    Check(what="annotates every trace, whatever a model replies", run=_annotations_are_valid),
    Check(what="is deterministic", run=_is_deterministic),
    Check(what="never uses a seed twice", run=_seeds_differ),
    Check(what="makes no label of an unavailable engine", run=_unavailable_engine_propagates),
)
