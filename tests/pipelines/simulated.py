"""A model that solves word problems now and then, and judges them rightly; and a whole run without Prefect."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engines.base import Completion, Prompt
from engines.scripted import Scripted
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, Sampling, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES
from verifiers.isolation.pool import Isolated

Respond = Callable[[Prompt, Sampling, int], str | Completion]

SOURCE = WordProblems(count=7, max_steps=4)
RUN: Mapping[str, Any] = {
    "problems": {"use": "word_problems", "count": 4, "max_steps": 4},
    "engine": {"use": "scripted"},
    "generate": {"traces_per_problem": 4},
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
    """Knows the problems; from a sound prefix it goes on rightly with probability `skill`, else it slips in the next line."""

    skill: float = 0.7
    before: Respond | None = None
    """Comes first; an empty reply lets the model speak."""
    asked: list[tuple[Prompt, Sampling]] = field(default_factory=list)

    @cached_property
    def problems(self) -> list[Problem]:
        return [row for row in SOURCE.problems() if isinstance(row, Problem)]

    def respond(self, prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if index == 0:
            self.asked.append((prompt, sampling))
        if self.before and (reply := self.before(prompt, sampling, index)):
            return reply
        problem = next(problem for problem in self.problems if problem.question in prompt.user)
        return (
            judgement(problem, prompt.user)
            if is_judging(prompt)
            else self._solution(problem, prompt.prefix, sampling.seed + index)
        )

    def _solution(self, problem: Problem, prefix: str, seed: int) -> str:
        chance = random.Random(seed)
        gold = problem.metadata["gold"]
        if not gold.startswith(prefix):
            return f"The answer is {int(problem.answer or 0) + 1}."
        lines = gold.removeprefix(prefix).splitlines(keepends=True)
        if chance.random() < self.skill:
            return "".join(lines)
        slip = chance.randrange(len(lines))
        slipped = lines[slip].replace(" = ", " = 1") if " = " in lines[slip] else ""
        return "".join(lines[:slip]) + slipped + f"The answer is {int(problem.answer or 0) + 1}."


def is_judging(prompt: Prompt) -> bool:
    return "Check a solution" in prompt.user


def judgement(problem: Problem, asked: str) -> str:
    """The oracle's verdicts in the form that the judge's prompt asks for."""
    shown = asked.partition("Solution:\n")[2].partition("\n\nFor each step")[0].splitlines()
    lines = [line.partition(": ")[2] + "\n" for line in shown]
    told = SOURCE.judge(
        problem, [line if line.startswith("Step") else line.rstrip("\n") for line in lines]
    )
    return "\n".join(
        f"Step {number}: {verdict}"
        for number, (verdict, _) in enumerate(told, 1)
        if verdict is not Verdict.UNKNOWN
    )


def job_in(folder: Path, workers: Isolated, model: Model, **changes: Any) -> Job:
    """The run file with these tables changed (None: left out), its engines the model."""
    tables = {key: value for key, value in {**RUN, **changes}.items() if value is not None}
    run_file = parse({"dataset": str(folder), **tables}, "run.toml")
    plan = planning.build(run_file)
    engine = Scripted(respond=model.respond, context=100_000) if plan.engine else None
    return Job(
        plan=replace(plan, engine=engine, judge_engine=engine),
        dataset=Dataset(str(folder)),
        meter=Meter(),
        workers=workers,
    )


async def run(job: Job) -> Job:
    """Every stage of every shard, in order, as the flow does it."""
    traces = await wanted(job)
    await job.check_engines(traces)
    job.drop_stale(traces)
    for shard in traces:
        await job.make_traces(shard)
    await _annotate(job, list(traces), oracle=True)
    return job


async def wanted(job: Job) -> Mapping[int, str]:
    """The stamps that the traces of each shard will have, once its problems are written."""
    return {
        shard: job.fingerprints.traces_part_key(stamp)
        for shard, stamp in (await job.make_problems()).items()
    }


async def label(job: Job) -> Job:
    """What `stepmark label` does with the traces that stand."""
    footers = {shard: job.dataset.footer(TRACES, shard) for shard in job.dataset.shards(TRACES)}
    job.drop_stale({shard: footer.fingerprint for shard, footer in footers.items() if footer})
    await _annotate(job, list(footers))
    return job


async def _annotate(job: Job, shards: list[int], *, oracle: bool = False) -> None:
    for shard in shards:
        for method in job.plan.annotators:
            await job.make_annotations(shard, method)
        if oracle:
            await job.make_oracle(shard)
        if not job.plan.labels_need_all_shards:
            await job.labelling.label(shard)
    if job.plan.labels_need_all_shards:
        await job.labelling.label_all()


def parts(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Every part, with what changes when it is written again."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("part-*.parquet"))
    }


def problems_of(job: Job) -> Mapping[str, Problem]:
    return {problem.problem_id: problem for problem in job.dataset.read(PROBLEMS)}
