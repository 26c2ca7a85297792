"""A random dataset with solutions, rollouts, estimates and labels; always the same."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from annotators.estimates import monte_carlo_estimate
from stepmark.records import (
    Annotation,
    Discovered,
    Label,
    Problem,
    Rollout,
    StepAnnotation,
    StepLabel,
    Trace,
    first_error_of,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, discovered, rollouts
from tests.storage.samples import (
    ANNOTATION,
    BAD,
    DISCOVERED,
    GOOD,
    LABEL,
    PROBLEM,
    ROLLOUT,
    TRACE,
    UNKNOWN,
)

__all__ = ["write_random_dataset"]

# Texts that a careless writer would change, split or evaluate.
STEPS = ["a = 1\n", "b = 2\n", "  c {x}\t\n\n", "\x1b[31m d \\n\r\n", "é ки\n", "<b>e</b>\n\n\n"]
OUTCOMES = [GOOD, BAD, BAD, UNKNOWN]


class Sampler:
    """Random problems with traces, rollouts, annotations and labels; the seed is fixed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.rollout_count = 0

    def steps(self, least: int) -> tuple[str, ...]:
        return tuple(self.chance.choice(STEPS) for _ in range(self.chance.randrange(least, 5)))

    def trace(self, name: str, problem: Problem) -> Trace:
        steps = self.steps(1)
        return replace(
            TRACE,
            trace_id=name,
            problem_id=problem.problem_id,
            steps=steps,
            outcome=self.chance.choice(OUTCOMES),
        )

    def rollouts(self, trace: Trace) -> Iterator[Rollout]:
        for prefix_steps in range(len(trace.steps)):
            for _ in range(3):
                self.rollout_count += 1
                steps = self.steps(0)
                outcome = self.chance.choice(OUTCOMES)
                yield replace(
                    ROLLOUT,
                    method="monte_carlo",
                    rollout_id=f"r{self.rollout_count}",
                    trace_id=trace.trace_id,
                    prefix_steps=prefix_steps,
                    steps=steps,
                    text="".join(steps),
                    outcome=outcome,
                    finish_reason=self.chance.choice(["stop", "stop", "length"]),
                )


def estimates(trace: Trace, sampled: Sequence[Rollout]) -> tuple[StepAnnotation, ...]:
    """Annotate the steps of a trace as the method `monte_carlo` does."""
    steps = []
    for index in range(1, len(trace.steps)):
        outcomes = [rollout.outcome for rollout in sampled if rollout.prefix_steps == index]
        steps.append(monte_carlo_estimate(outcomes))
    return (*steps, monte_carlo_estimate([trace.outcome]))


def annotation_of(trace: Trace, steps: tuple[StepAnnotation, ...]) -> Annotation:
    return replace(
        ANNOTATION,
        trace_id=trace.trace_id,
        method="monte_carlo",
        first_error=first_error_of([step.verdict for step in steps]),
        steps=steps,
        neutral_steps=(),
        error=None,
    )


def label_of(trace: Trace, steps: Sequence[StepAnnotation], *, kept: bool) -> Label:
    return replace(
        LABEL,
        trace_id=trace.trace_id,
        steps=tuple(StepLabel(label=step.verdict, value=step.value) for step in steps),
        first_error=first_error_of([step.verdict for step in steps]),
        kept=kept,
    )


def write_random_dataset(dataset: Dataset) -> None:
    sampler = Sampler(seed=20_261_130)
    dataset.write_run_file("")
    for shard in range(2):
        problems = []
        traces = []
        sampled = []
        annotated = []
        labels = []
        for number in range(6):
            question = f"What is {shard}{number}?\n\x1b[0m"
            problem = replace(PROBLEM, problem_id=f"p{shard}-{number}", question=question)
            problems.append(problem)
            for index in range(6):
                trace = sampler.trace(f"t{shard}-{number}-{index}", problem)
                of_trace = list(sampler.rollouts(trace))
                steps = estimates(trace, of_trace)
                traces.append(trace)
                sampled.extend(of_trace)
                annotated.append(annotation_of(trace, steps))
                labels.append(label_of(trace, steps, kept=sampler.chance.random() < 0.8))
        found, of_found = discovered_trace(traces[0], sampled)
        dataset.write_part(PROBLEMS, shard, problems, "f")
        dataset.write_part(TRACES, shard, traces, "f")
        dataset.write_part(discovered("monte_carlo"), shard, [found], "f")
        dataset.write_part(rollouts("monte_carlo"), shard, sampled, "f")
        dataset.write_part(annotations("monte_carlo"), shard, annotated, "f")
        dataset.write_part(LABELS, shard, [*labels, of_found], "f")


def discovered_trace(parent: Trace, sampled: Sequence[Rollout]) -> tuple[Discovered, Label]:
    """Return the trace that ends with the first long rollout of its parent, and its label."""
    for rollout in sampled:
        if rollout.trace_id == parent.trace_id and rollout.steps:
            break
    trace = replace(
        DISCOVERED,
        trace_id=f"{parent.trace_id}-found",
        problem_id=parent.problem_id,
        steps=parent.steps[: rollout.prefix_steps] + (rollout.steps or ()),
        outcome=rollout.outcome,
        parent_trace_id=parent.trace_id,
        parent_steps=rollout.prefix_steps,
        rollout_id=rollout.rollout_id,
        found_by="monte_carlo",
        method="monte_carlo",
    )
    steps = (StepAnnotation(verdict=GOOD, value=1.0),) * (len(trace.steps) - 1)
    return trace, label_of(trace, (*steps, StepAnnotation(verdict=BAD, value=0.0)), kept=True)
