"""What a run still has to make: the problems of each stage whose parts are not current."""

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.run.job import Job
from pipelines.run.problems import has_traces, problem_shards
from pipelines.run.resume import annotations_part_key, is_current
from stepmark.errors import DatasetError
from stepmark.identity import digest
from stepmark.records import Problem
from storage.completions.store import CompletionStore
from storage.dataset.tables import PROBLEMS, TRACES, annotations

__all__ = ["Remaining", "find_remaining", "makes_traces"]

# Problems of unfinished shards whose stored completions are looked up one by one. Four shards of
# the default size, which take seconds; the others are assumed to be like them.
MAX_LOOKED_UP = 256
# Finished shards that are read for an estimate: their problems are a sample.
MAX_READ_SHARDS = 4
CHARACTERS_PER_TOKEN = 4
"""A rough estimate of the tokens of a prompt: engines report them only in their answers."""


@dataclass(kw_only=True)
class Remaining:
    """The work of a run by stage; a stage is "traces" or the name of a method."""

    problems: int = 0
    rejected: int = 0
    traces: int = 0
    shards: int = 0
    prompt_characters: int = 0
    """Characters of the prompts of the problems that have no traces yet."""
    left: Counter[str] = field(default_factory=Counter)
    """Problems by stage that the run still has to finish."""
    unfinished: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Shards by stage that the run still has to make."""
    finished: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Some of the shards by stage that are made already."""
    covered: int = 0
    """Problems of unfinished shards for which the store may have completions."""
    looked_up: dict[int, list[Problem]] = field(default_factory=lambda: defaultdict(list))
    """The first of the covered problems, by shard."""
    pilot: Mapping[int, Sequence[Problem]] = field(default_factory=dict)
    """The problems of the pilot, by shard."""
    pilot_left: Counter[str] = field(default_factory=Counter)
    """Problems of the pilot by stage that are in unfinished shards."""

    @property
    def looked_up_share(self) -> float:
        """The share of the covered problems that are looked up."""
        return sum(map(len, self.looked_up.values())) / max(1, self.covered)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    shard: int
    problems: Sequence[Problem]
    rejected: int
    traces: int
    has_traces: bool


@dataclass(frozen=True)
class _Candidate:
    """A problem that can be in the pilot."""

    rank: str
    shard: int
    problem: Problem
    unfinished: frozenset[str]
    """The stages that the run makes for its shard."""


def makes_traces(job: Job) -> bool:
    """Return whether the run file is one of `stepmark run`, and not only of `stepmark label`."""
    return job.plan.source is not None and job.plan.engine is not None


async def find_remaining(job: Job, store: CompletionStore, pilot: int) -> Remaining:
    """Compare what the run file makes with what the dataset has. Nothing is requested or written.

    Args:
        job: The run.
        store: The stored completions of its dataset.
        pilot: The number of problems to choose for a pilot.
    """
    remaining = Remaining()
    chosen: list[_Candidate] = []
    shards = _shards_to_make(job) if makes_traces(job) else _shards_to_label(job)
    async for item in shards:
        stages = await asyncio.to_thread(_unfinished_stages, job, item)
        _add_shard(remaining, job, item, stages)
        if stages:
            _add_covered(remaining, store, item)
        for problem in item.problems:
            # The digests are in no order, so that the first problems are a random sample, and the
            # same one whenever the command is repeated.
            rank = digest("pilot", job.plan.run_file.seed, problem.problem_id)
            chosen.append(_Candidate(rank, item.shard, problem, stages))
        chosen = heapq.nsmallest(pilot, chosen, key=lambda candidate: candidate.rank)
    by_shard = defaultdict[int, list[Problem]](list)
    for candidate in chosen:
        by_shard[candidate.shard].append(candidate.problem)
        remaining.pilot_left.update(candidate.unfinished)
    remaining.pilot = by_shard
    return remaining


async def _shards_to_make(job: Job) -> AsyncIterator[_Shard]:
    async for item in problem_shards(job):
        yield _Shard(
            shard=item.shard,
            problems=item.problems,
            rejected=len(item.rejected),
            traces=len(item.problems) * job.plan.run_file.generate.traces_per_problem,
            has_traces=await asyncio.to_thread(has_traces, job, item),
        )


async def _shards_to_label(job: Job) -> AsyncIterator[_Shard]:
    job.dataset.require()
    for shard in job.dataset.shards(TRACES):
        problems = await asyncio.to_thread(lambda: list(job.dataset.read_part(PROBLEMS, shard)))  # noqa: B023
        traces = job.reader.footer(TRACES, shard).rows
        yield _Shard(shard=shard, problems=problems, rejected=0, traces=traces, has_traces=True)


def _unfinished_stages(job: Job, item: _Shard) -> frozenset[str]:
    """Return the stages that the run makes for a shard."""
    stages = set[str]()
    if not item.has_traces:
        stages.add("traces")
    for method, spec in job.plan.annotators.items():
        needed = {"traces", *(dependency.name for dependency in spec.depends_on)}
        if needed & stages:
            stages.add(method)
            continue
        try:
            part_key = annotations_part_key(job, spec, item.shard)
        except DatasetError:
            # A part that it reads is damaged, and is made again first.
            stages.add(method)
            continue
        if not is_current(job, annotations(method), item.shard, part_key):
            stages.add(method)
    return frozenset(stages)


def _add_shard(remaining: Remaining, job: Job, item: _Shard, unfinished: Collection[str]) -> None:
    remaining.shards += 1
    remaining.problems += len(item.problems)
    remaining.rejected += item.rejected
    remaining.traces += item.traces
    if "traces" in unfinished:
        for problem in item.problems:
            remaining.prompt_characters += len(job.plan.solve_prompt(problem).text)
    for stage in ("traces", *job.plan.annotators):
        if stage in unfinished:
            remaining.left[stage] += len(item.problems)
            remaining.unfinished[stage].add(item.shard)
        elif len(remaining.finished[stage]) < MAX_READ_SHARDS:
            remaining.finished[stage].append(item.shard)


def _add_covered(remaining: Remaining, store: CompletionStore, item: _Shard) -> None:
    covered = [problem for problem in item.problems if store.covers(problem.problem_id)]
    looked_up = sum(map(len, remaining.looked_up.values()))
    if covered and looked_up < MAX_LOOKED_UP:
        # Whole shards: a method can be fitted to the traces of a shard.
        remaining.looked_up[item.shard].extend(covered)
    remaining.covered += len(covered)
