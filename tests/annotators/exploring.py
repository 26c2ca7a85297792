"""Explorers at work on a problem that a simulated policy solves now and then."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from annotators.base import ProblemAnnotator
from annotators.context import AnnotationContext, ProblemContext, ProblemGroup
from annotators.running import run_problem
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Problem, Rollout, Sampling, Trace
from stepmark.steps import split
from tests.annotators.simulated import PROBLEM, SAMPLING, WRONG, Respond, grade, recording, services

BY_LINE = partial(split, how="line")
LINES = 6
"""Of a solution, before the line that ends it."""


def walks(sound: float, *, surely: bool = False, lines: int = LINES) -> Respond:
    """A policy whose every line is sound with this chance while all before were; behind a wrong one it never gets there.

    With `surely`, the last sample of each request makes no mistake of its own.
    """

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        chance, right = random.Random(sampling.seed + index), WRONG not in prompt.prefix
        text = ""
        for number in range(prompt.prefix.count("\n"), lines):
            slips = right and chance.random() > sound and not (surely and index == sampling.n - 1)
            right = right and not slips
            text += f"{WRONG if slips else 'step'} {number} {chance.choice('ab')}\n"
        return text + ("yes" if right else "no")

    return respond


@dataclass(frozen=True, kw_only=True)
class Explored:
    """What a method made of a problem."""

    traces: Sequence[Trace]
    annotations: Sequence[Annotation]
    """In the order of the traces, then of what was discovered."""
    context: ProblemContext
    requests: Sequence[tuple[Prompt, Sampling]]

    @property
    def sampled_rollouts(self) -> list[Rollout]:
        """The rollouts from all traces."""
        return [
            rollout for context in self.context.all_contexts for rollout in context.sampled_rollouts
        ]

    @property
    def all_traces(self) -> list[Trace]:
        """The problem's own, and those discovered."""
        return [*self.traces, *self.context.discovered]


async def sampled(respond: Respond, samples: int, seed: int = 1) -> list[Trace]:
    """A problem's own traces, as a run would write them."""
    engine, sampling = (
        Scripted(respond=respond),
        replace(SAMPLING, n=samples, seed=seed * SEED_SPACING),
    )
    completions = await engine.complete(Prompt(user=PROBLEM.question), sampling)
    return [
        await trace_of(each, f"own {seed}.{index}", sampling.seed + index)
        for index, each in enumerate(completions)
    ]


async def trace_of(completion: Completion, name: str, seed: int) -> Trace:
    """A completion as a trace of the scripted engine."""
    graded = await grade(completion.text, completion.finish_reason, PROBLEM.answer)
    return Trace(
        trace_id=name,
        problem_id=PROBLEM.problem_id,
        steps=BY_LINE(completion.text),
        final_answer=graded.final_answer,
        outcome=graded.outcome,
        outcome_reason=graded.reason,
        model="scripted",
        sampling=replace(SAMPLING, n=1, seed=seed),
        finish_reason=completion.finish_reason,
        generated_tokens=completion.generated_tokens,
    )


def written(*texts: str) -> Respond:
    """A policy whose samples are these, in turn."""
    return lambda _prompt, _sampling, index: texts[index % len(texts)]


async def explored_by(
    method: ProblemAnnotator, traces: Sequence[Trace], respond: Respond, problem: Problem = PROBLEM
) -> Explored:
    """Run a method on a problem with these traces, the policy being rollout engine and judge at once."""
    engine, requests = recording(respond)
    shared, family = (
        services(engine, engine),
        ProblemGroup(traces={trace.trace_id: trace for trace in traces}),
    )
    context = ProblemContext(
        shared,
        BY_LINE,
        "simulated",
        [AnnotationContext(shared, "simulated", problem, trace, family) for trace in traces],
    )
    annotations = await run_problem(method, "method", "fingerprint", context)
    return Explored(traces=traces, annotations=annotations, context=context, requests=requests)
