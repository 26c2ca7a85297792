"""Problem annotators on a problem that a simulated policy solves some of the time."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from annotators.base import ProblemAnnotator
from annotators.context import AnnotationContext, ProblemContext, ProblemGroup
from annotators.running import run_problem
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.identity import SEED_SPACING
from stepmark.records import Annotation, Problem, Rollout, Sampling, Trace
from tests.annotators.simulated import (
    PROBLEM,
    SAMPLING,
    WRONG,
    Respond,
    grade,
    recording,
    services,
    split_lines,
)

LINES = 6
"""The number of lines of a solution before the line with its answer."""


def random_walks(sound: float, *, surely: bool = False, lines: int = LINES) -> Respond:
    """Return a policy that writes each next line soundly with probability `sound`.

    After a wrong line it never reaches the correct answer. With `surely`, the last sample of each
    request adds no wrong line.
    """

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        rng = random.Random(sampling.seed + index)
        is_sound = WRONG not in prompt.prefix
        is_sure = surely and index == sampling.n - 1
        text = ""
        for number in range(prompt.prefix.count("\n"), lines):
            # After a wrong line no random number is drawn for further mistakes.
            makes_mistake = is_sound and rng.random() > sound and not is_sure
            if makes_mistake:
                is_sound = False
            word = WRONG if makes_mistake else "step"
            text += f"{word} {number} {rng.choice('ab')}\n"
        return text + ("yes" if is_sound else "no")

    return respond


def fixed_texts(*texts: str) -> Respond:
    """Return a policy whose samples are these texts in turn."""
    return lambda _prompt, _sampling, index: texts[index % len(texts)]


@dataclass(frozen=True, kw_only=True)
class ProblemRun:
    """The result of running a method on one problem."""

    traces: Sequence[Trace]
    annotations: Sequence[Annotation]
    """In the order of `all_traces`."""
    context: ProblemContext
    requests: Sequence[tuple[Prompt, Sampling]]

    @property
    def sampled_rollouts(self) -> list[Rollout]:
        """The rollouts from all traces."""
        rollouts = list[Rollout]()
        for context in self.context.all_contexts:
            rollouts.extend(context.sampled_rollouts)
        return rollouts

    @property
    def all_traces(self) -> list[Trace]:
        """The sampled traces, followed by the discovered ones."""
        return [*self.traces, *self.context.discovered]


async def sample_traces(respond: Respond, samples: int, seed: int = 1) -> list[Trace]:
    """Return sampled traces of the problem, as a run would write them."""
    engine = Scripted(respond=respond)
    sampling = replace(SAMPLING, n=samples, seed=seed * SEED_SPACING)
    completions = await engine.complete(Prompt(user=PROBLEM.question), sampling)
    traces = list[Trace]()
    for index, completion in enumerate(completions):
        traces.append(
            await trace_of_completion(completion, f"own {seed}.{index}", sampling.seed + index)
        )
    return traces


async def trace_of_completion(completion: Completion, trace_id: str, seed: int) -> Trace:
    """Return a completion of the scripted engine as a trace."""
    graded = await grade(completion.text, completion.finish_reason, PROBLEM.answer)
    return Trace(
        trace_id=trace_id,
        problem_id=PROBLEM.problem_id,
        steps=split_lines(completion.text),
        final_answer=graded.final_answer,
        outcome=graded.outcome,
        outcome_reason=graded.reason,
        model="scripted",
        sampling=replace(SAMPLING, n=1, seed=seed),
        finish_reason=completion.finish_reason,
        generated_tokens=completion.generated_tokens,
    )


async def annotate_problem(
    method: ProblemAnnotator, traces: Sequence[Trace], respond: Respond, problem: Problem = PROBLEM
) -> ProblemRun:
    """Run a method on a problem with these traces; the policy is rollout engine and judge."""
    engine, requests = recording(respond)
    run_services = services(engine, engine)
    group = ProblemGroup(traces={trace.trace_id: trace for trace in traces})
    contexts = [
        AnnotationContext(run_services, "simulated", problem, trace, group) for trace in traces
    ]
    context = ProblemContext(run_services, "simulated", contexts)
    annotations = await run_problem(method, "method", "fingerprint", context)
    return ProblemRun(traces=traces, annotations=annotations, context=context, requests=requests)
