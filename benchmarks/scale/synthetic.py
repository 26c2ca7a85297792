"""A synthetic dataset of any size, written part by part as a finished run writes it.

Texts, annotations and labels are random, with the shapes of a real run: six to ten steps per trace,
three methods, and the rollouts of one of them on request. The part keys are those of the run file,
so that `stepmark run` finds every part complete.
"""

import json
import multiprocessing
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common.run_files import build_plan
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.resume import annotations_part_key, labels_part_keys
from stepmark.identity import digest
from stepmark.records import (
    Annotation,
    Cost,
    Label,
    Problem,
    Rollout,
    Sampling,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
    first_error_of,
)
from storage.dataset.dataset import Dataset
from storage.dataset.parts import Footer
from storage.dataset.tables import LABELS, PROBLEMS, REJECTED, TRACES, annotations, rollouts

__all__ = ["SyntheticDataset"]

TRACES_PER_PROBLEM = 4
FEWEST_STEPS = 6
MOST_STEPS = 10
TERMS = 7
LARGEST_NUMBER = 999
# The probability of a first error at each step: four in ten solutions are wrong.
ERROR_RATE = 0.06
ROLLOUTS_PER_PREFIX = 8
# Annotations of this many different step lists per shard and number of steps: making each one anew
# takes as long as everything else.
VARIANTS = 500
# Numbers differ and wordings repeat, as in the solutions of a small model.
WORDINGS = (
    "First we add {a} and {b}, which gives {a} + {b} = {c}.\n",
    "Then we have {a} and take {b} of them away, so {a} - {b} = {c} are left for the next day.\n",
    "Since every one of the {a} boxes holds {b} pieces, there are {a} * {b} = {c} pieces.\n",
    "We divide the {a} into groups of {b} and get {c}, because {a} / {b} = {c}.\n",
)
LAST_STEP = "All parts of the question are answered. The answer is {c}."
# What the scripted engine replies if the run file is run: some steps, so that there are rollouts.
REPLY = "1 + 1 = 2\n2 + 2 = 4\n4 + 4 = 8\nThe answer is \\boxed{8}."
METHODS = ("monte_carlo", "judge", "formal")


@dataclass(frozen=True, kw_only=True)
class SyntheticDataset:
    """A synthetic dataset in a folder, with the run file that it is complete for.

    Args:
        folder: The folder, which gets the dataset, the file of problems and the run file.
        traces: The number of traces.
        problems_per_shard: As in the run file.
        has_rollouts: Whether `monte_carlo` has rollouts.
        rollouts_per_prefix: The number of rollouts in the run file.
    """

    folder: Path
    traces: int
    problems_per_shard: int = 64
    has_rollouts: bool = False
    rollouts_per_prefix: int = ROLLOUTS_PER_PREFIX

    @property
    def dataset(self) -> Dataset:
        """Return the dataset."""
        return Dataset(str(self.folder / "dataset"))

    def run_file(self) -> dict[str, Any]:
        """Return the run file."""
        return {
            "dataset": self.dataset.uri,
            "problems": {"use": "files", "paths": [str(self._problems_file)]},
            "engine": {"use": "scripted", "replies": {"": [REPLY]}},
            "generate": {"traces_per_problem": TRACES_PER_PROBLEM, "split": "line"},
            "annotators": [
                {"use": "monte_carlo", "rollouts": self.rollouts_per_prefix},
                {"use": "judge", "votes": 1},
                {"use": "formal"},
            ],
            "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
            "shards": {"problems_per_shard": self.problems_per_shard},
        }

    def job(self) -> Job:
        """Return the job of the run file."""
        return Job(plan=build_plan(self.run_file()), dataset=self.dataset, meter=Meter())

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return -(-self._problems // self.problems_per_shard)

    def write(self, processes: int | None = None) -> None:
        """Write the dataset.

        Args:
            processes: The number of processes; by default one for each processor. With 1 this
                process writes everything.
        """
        self.write_problems()
        if processes is None:
            processes = min(self.shards, os.cpu_count() or 1)
        if processes == 1:
            self.write_parts(range(self.shards))
        else:
            # Each process reads all problems, so each gets its shards at once.
            chunks = [range(start, self.shards, processes) for start in range(processes)]
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                for _ in pool.map(self.write_parts, chunks):
                    pass
        self.dataset.write_run_file(self.job().plan.run_file.to_toml())

    def write_problems(self) -> None:
        """Write the file of problems, for a run that makes the dataset."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._problems_file.open("w", encoding="utf-8") as file:
            for number in range(self._problems):
                file.write(json.dumps(_problem_row(number)) + "\n")

    def remove_last_labels(self) -> None:
        """Remove the labels of the last shard, so that a run has something left to do."""
        self.dataset.remove_part(LABELS, self.shards - 1)

    def write_parts(self, shards: Sequence[int]) -> None:
        """Write all parts of some shards."""
        job = self.job()
        assert job.plan.source is not None
        problems = iter(job.plan.source.problems())
        wanted = frozenset(shards)
        for shard in range(self.shards):
            rows = list(islice(problems, self.problems_per_shard))
            if shard in wanted:
                self._write_shard(job, shard, [row for row in rows if isinstance(row, Problem)])

    @property
    def _problems(self) -> int:
        return self.traces // TRACES_PER_PROBLEM

    @property
    def _problems_file(self) -> Path:
        return self.folder / "problems.jsonl"

    def _write_shard(self, job: Job, shard: int, problems: Sequence[Problem]) -> None:
        dataset = job.dataset
        rng = random.Random(shard)
        part_key = digest("problems", problems, [])
        dataset.write_part(REJECTED, shard, [], part_key)
        dataset.write_part(PROBLEMS, shard, problems, part_key)
        traces = list(_traces(problems, job.plan.sampling(n=1, seed=0), rng))
        part_key = job.fingerprints.traces_part_key(job.reader.content(PROBLEMS, shard))
        dataset.write_part(TRACES, shard, traces, part_key)
        for method, spec in job.plan.annotators.items():
            part_key = annotations_part_key(job, spec, shard)
            siblings = dict[str, Footer]()
            if self.has_rollouts and method == "monte_carlo":
                table = rollouts(method)
                rows = _rollouts(traces, self.rollouts_per_prefix, rng)
                siblings["rollouts"] = dataset.write_part(table, shard, rows, part_key)
            fingerprint = job.fingerprints.annotations(spec)
            annotated = _annotations(method, fingerprint, traces, rng)
            dataset.write_part(annotations(method), shard, annotated, part_key, tables=siblings)
        part_key = labels_part_keys(job, [shard])[shard]
        labels = _labels(job.fingerprints.labels(), traces, rng)
        dataset.write_part(LABELS, shard, labels, part_key)


def _problem_row(number: int) -> Mapping[str, str]:
    rng = random.Random(number)
    terms = [rng.randint(1, LARGEST_NUMBER) for _ in range(TERMS)]
    question = f"Problem {number}. What is {' + '.join(map(str, terms))}?"
    return {"question": question, "answer": str(sum(terms))}


def _traces(problems: Sequence[Problem], sampling: Sampling, rng: random.Random) -> Iterator[Trace]:
    for problem in problems:
        for index in range(TRACES_PER_PROBLEM):
            outcome = rng.choices((Verdict.CORRECT, Verdict.INCORRECT), (3, 2))[0]
            yield Trace(
                trace_id=_random_id(rng),
                problem_id=problem.problem_id,
                steps=_steps(rng, rng.randint(FEWEST_STEPS, MOST_STEPS)),
                final_answer=problem.answer if outcome is Verdict.CORRECT else "0",
                outcome=outcome,
                outcome_reason="equal" if outcome is Verdict.CORRECT else "different",
                model="synthetic",
                sampling=replace(sampling, seed=rng.getrandbits(52) + index),
                prompt_tokens=60,
                generated_tokens=180,
            )


def _steps(rng: random.Random, count: int) -> tuple[str, ...]:
    steps = list[str]()
    for _ in range(count - 1):
        wording = rng.choice(WORDINGS)
        number = rng.getrandbits(30)
        a = number % LARGEST_NUMBER
        b = number // LARGEST_NUMBER % LARGEST_NUMBER
        steps.append(wording.format(a=a, b=b, c=a + b))
    steps.append(LAST_STEP.format(c=rng.randint(1, LARGEST_NUMBER)))
    return tuple(steps)


def _annotations(
    method: str, fingerprint: str, traces: Sequence[Trace], rng: random.Random
) -> Iterator[Annotation]:
    steps_of_length = _step_annotations_by_length(method, rng)
    for trace in traces:
        steps = rng.choice(steps_of_length[len(trace.steps)])
        yield Annotation(
            trace_id=trace.trace_id,
            method=method,
            fingerprint=fingerprint,
            first_error=first_error_of([step.verdict for step in steps]),
            steps=steps,
            cost=Cost(rollouts=56, prompt_tokens=900, generated_tokens=5000, seconds=rng.random()),
        )


def _step_annotations_by_length(
    method: str, rng: random.Random
) -> Mapping[int, Sequence[tuple[StepAnnotation, ...]]]:
    by_length = dict[int, Sequence[tuple[StepAnnotation, ...]]]()
    for length in range(FEWEST_STEPS, MOST_STEPS + 1):
        variants = list[tuple[StepAnnotation, ...]]()
        for _ in range(VARIANTS):
            verdicts = _verdicts(length, rng)
            variants.append(tuple(_step_annotation(method, verdict, rng) for verdict in verdicts))
        by_length[length] = variants
    return by_length


def _step_annotation(method: str, verdict: Verdict, rng: random.Random) -> StepAnnotation:
    if method == "monte_carlo":
        successes = 0
        if verdict is Verdict.CORRECT:
            successes = rng.randint(1, ROLLOUTS_PER_PREFIX)
        value = successes / ROLLOUTS_PER_PREFIX
        return StepAnnotation(
            verdict=verdict, value=value, successes=successes, trials=ROLLOUTS_PER_PREFIX
        )
    rationale = ""
    if verdict is Verdict.INCORRECT:
        rationale = f"the result should be {rng.randint(1, LARGEST_NUMBER)}"
    return StepAnnotation(verdict=verdict, rationale=rationale)


def _labels(fingerprint: str, traces: Sequence[Trace], rng: random.Random) -> Iterator[Label]:
    steps_of_length = _step_annotations_by_length("monte_carlo", rng)
    for trace in traces:
        annotated = rng.choice(steps_of_length[len(trace.steps)])
        steps = tuple(StepLabel(label=step.verdict, value=step.value) for step in annotated)
        yield Label(
            trace_id=trace.trace_id,
            first_error=first_error_of([step.label for step in steps]),
            steps=steps,
            confidence=None,
            kept=True,
            reason="agree",
            sources=METHODS,
            fingerprint=fingerprint,
        )


def _verdicts(count: int, rng: random.Random) -> Sequence[Verdict]:
    """Return verdicts that are unknown after the first error, as most methods return them."""
    for index in range(count):
        if rng.random() < ERROR_RATE:
            remaining = count - index - 1
            return [Verdict.CORRECT] * index + [Verdict.INCORRECT] + [Verdict.UNKNOWN] * remaining
    return [Verdict.CORRECT] * count


def _rollouts(traces: Sequence[Trace], per_prefix: int, rng: random.Random) -> Iterator[Rollout]:
    for trace in traces:
        for prefix_steps in range(1, len(trace.steps)):
            for index in range(per_prefix):
                steps = _steps(rng, len(trace.steps) - prefix_steps)
                yield Rollout(
                    method="monte_carlo",
                    rollout_id=rng.randbytes(16).hex(),
                    trace_id=trace.trace_id,
                    prefix_steps=prefix_steps,
                    text="".join(steps),
                    steps=steps,
                    final_answer="0",
                    outcome=rng.choice((Verdict.CORRECT, Verdict.INCORRECT)),
                    outcome_reason="equal",
                    seed=index,
                    finish_reason="stop",
                    prompt_tokens=60,
                    cached_tokens=50,
                    generated_tokens=20 * len(steps),
                )


def _random_id(rng: random.Random) -> str:
    return rng.randbytes(12).hex()
