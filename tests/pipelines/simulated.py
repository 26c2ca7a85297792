"""A simulated model that solves word problems with some probability, and a run without Prefect."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from engines.base import Completion, Prompt
from engines.scripted import Scripted
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.engine_pool import ENGINE, EnginePool
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.stages import run_stages
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, Sampling, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS
from verifiers.isolation.pool import VerifierPool

Respond = Callable[[Prompt, Sampling, int], str | Completion]

# As many problems as the longest test run needs; a shorter run has the first of them.
SOURCE = WordProblems(count=7, max_steps=4)
# Two shards of two problems.
RUN: Mapping[str, Any] = {
    "problems": {"use": "word_problems", "count": 4, "max_steps": 4},
    "engine": {"use": "scripted"},
    "generate": {"traces_per_problem": 4},
    # Two methods that sample rollouts, one that asks for critiques, and one without an engine.
    "annotators": [
        {"use": "monte_carlo", "rollouts": 4},
        {"use": "binary_search", "rollouts": 4},
        {"use": "judge", "votes": 2},
        {"use": "formal"},
    ],
    "label": {"use": "consensus"},
    "shards": {"problems_per_shard": 2},
}


@dataclass
class Model:
    """A model with access to the gold solutions, as solver and as judge.

    After a correct prefix it continues correctly with probability `skill`, otherwise it makes a
    mistake in a random line. It judges solutions without error.
    """

    skill: float = 0.7
    before: Respond | None = None
    """Called first for every completion; the model answers if the reply is empty."""
    requests: list[tuple[Prompt, Sampling]] = field(default_factory=list)
    """All requests that the model received."""

    @cached_property
    def problems(self) -> list[Problem]:
        return [row for row in SOURCE.problems() if isinstance(row, Problem)]

    def problem_of(self, prompt: Prompt) -> Problem:
        """Return the problem whose question is in the prompt."""
        return next(problem for problem in self.problems if problem.question in prompt.user)

    def respond(self, prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        # A request for several completions calls this once for each.
        if index == 0:
            self.requests.append((prompt, sampling))
        if self.before is not None:
            reply = self.before(prompt, sampling, index)
            if reply:
                return reply
        problem = self.problem_of(prompt)
        if is_judging(prompt):
            return judgement(problem, prompt.user)
        return self._solution(problem, prompt.prefix, sampling.seed + index)

    def _solution(self, problem: Problem, prefix: str, seed: int) -> str:
        chance = random.Random(seed)
        gold = problem.metadata["gold"]
        wrong_answer = f"The answer is {int(problem.answer or 0) + 1}."
        # After a mistake no continuation reaches the correct answer.
        if not gold.startswith(prefix):
            return wrong_answer
        lines = gold.removeprefix(prefix).splitlines(keepends=True)
        if chance.random() < self.skill:
            return "".join(lines)
        index = chance.randrange(len(lines))
        # A line without a result is replaced by the wrong answer alone.
        mistake = ""
        if " = " in lines[index]:
            mistake = lines[index].replace(" = ", " = 1")
        return "".join(lines[:index]) + mistake + wrong_answer


def is_judging(prompt: Prompt) -> bool:
    return "Check a solution" in prompt.user


def judgement(problem: Problem, request: str) -> str:
    """Return the oracle's verdicts in the form that the judge's prompt asks for."""
    solution = request.partition("<solution ")[2].partition(">\n")[2].partition("\n</solution ")[0]
    steps = list[str]()
    for line in solution.splitlines():
        step = line.partition(": ")[2]
        # Only lines of the reasoning end with a line feed; the statement of the answer does not.
        steps.append(step + "\n" if step.startswith("Step") else step)
    reply = list[str]()
    for number, (verdict, _) in enumerate(SOURCE.judge(problem, steps), 1):
        if verdict is not Verdict.UNKNOWN:
            reply.append(f"Step {number}: {verdict}")
    return "\n".join(reply)


def job_in(
    folder: Path,
    workers: VerifierPool,
    model: Model,
    options: RunOptions = RunOptions(recompute=True),  # noqa: B008
    **changes: Any,
) -> Job:
    """Return a job whose engines are the model.

    Args:
        folder: The folder of the dataset.
        workers: The pool of verifier workers.
        model: The model.
        options: The options of the run; by default it may replace traces.
        **changes: Tables that replace those of `RUN`; None removes a table.
    """
    tables = dict[str, Any]()
    for name, table in {**RUN, **changes}.items():
        if table is not None:
            tables[name] = table
    plan = planning.build(parse({"dataset": str(folder), **tables}, "run.toml"))
    engines = dict(plan.engines)
    if plan.engine is not None:
        # The context is large enough for all prompts of the tests.
        engines[ENGINE] = Scripted(respond=model.respond, context=100_000)
    return Job(
        plan=plan.with_engines(EnginePool(engines)),
        dataset=Dataset(str(folder)),
        meter=Meter(),
        options=options,
        workers=workers,
    )


async def run(job: Job) -> Job:
    """Run all stages, as the flow does but without Prefect, and return the job.

    The workers and engines stay open for the next run.
    """
    await run_stages(kept_open(job), makes_traces=True)
    return job


async def run_in(folder: Path, workers: VerifierPool, model: Model, **changes: Any) -> Job:
    """Run all stages in a folder; the arguments are those of `job_in`."""
    return await run(job_in(folder, workers, model, **changes))


async def label(job: Job) -> Job:
    """Annotate and label the existing traces, as `stepmark label` does, and return the job."""
    await run_stages(kept_open(job), makes_traces=False)
    return job


def kept_open(job: Job) -> Job:
    """Return the same job without an effect of `close`."""

    class Open(Job):
        async def close(self) -> None:
            """Keep the workers and engines of the test."""

    return Open(
        plan=job.plan,
        dataset=job.dataset,
        meter=job.meter,
        options=job.options,
        workers=job.workers,
    )


Parts = Mapping[str, tuple[int, int]]


def parts(folder: Path) -> Parts:
    """Return the inode and modification time of every part, which change if it is rewritten.

    Stored completions are left out: they only grow.
    """
    files = dict[str, tuple[int, int]]()
    for path in sorted(folder.rglob("part-*.parquet")):
        if path.parent.name == "completions":
            continue
        # Parts are replaced by renaming a new file, which has another inode.
        files[str(path.relative_to(folder))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return files


def changed_parts(before: Parts, after: Parts) -> set[str]:
    """Return the parts that were added, rewritten or removed."""
    changed = set[str]()
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            changed.add(name)
    return changed


def changed_tables(before: Parts, after: Parts) -> set[str]:
    """Return the tables of which a part was added, rewritten or removed."""
    return {name.rpartition("/")[0] for name in changed_parts(before, after)}


def problems_of(job: Job) -> Mapping[str, Problem]:
    """Return the problems of a dataset by id."""
    return {problem.problem_id: problem for problem in job.dataset.read(PROBLEMS)}
