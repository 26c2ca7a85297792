"""A pilot: a few problems pass through all stages of a run, to find out what a problem costs.

The parts are written to a temporary dataset and only read for the estimate. The completions are
stored in the dataset of the run under the keys that they have there, so that the run requests none
of them again. They have a shard of their own, which no shard of a run reads as its own and replaces
when it is finished; every shard with a problem of the pilot finds them through the problem's id.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory

from engines.base import EngineWrapper, Prompt, Scored
from pipelines.estimating.remaining import Remaining, makes_traces
from pipelines.estimating.stored import write_problems
from pipelines.run.annotations import make_annotations
from pipelines.run.infrequent_gc import infrequent_gc
from pipelines.run.job import Job
from pipelines.run.progress import Progress, show_progress
from pipelines.run.retries import RETRIES, with_retries
from pipelines.run.stages import Work, run_shards
from pipelines.run.stored_engine import ShardCompletions
from pipelines.run.traces import is_rejected
from storage.completions.files import Header, list_files, read_headers
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.dataset.parts import row_bytes
from storage.dataset.tables import TRACES, annotations

__all__ = ["PILOT_SHARD", "Failures", "Pilot", "Sizes", "run_pilot"]

PILOT_SHARD = 999_999_999
"""The shard of the pilot's completions: no dataset has so many."""
# The shard of the temporary dataset.
SHARD = 0


@dataclass(frozen=True, kw_only=True)
class PilotJob(Job):
    """The stages of a run on the problems of a pilot, in a temporary dataset."""

    problem_ids: Sequence[str]
    pilot_store: CompletionStore
    """The stored completions of the dataset of the run."""
    scores: dict[str, int] = field(default_factory=dict)
    """Scoring calls by method."""

    def completions(self, shard: int) -> ShardCompletions:
        """Return the stored completions of the pilot."""
        del shard
        return ShardCompletions(lambda: self.pilot_store.shard(PILOT_SHARD, self.problem_ids))

    async def make_annotations(self, shard: int, method: str) -> None:
        """Write a method's annotations, and count its scoring calls."""
        self.scores[method] = 0

        def count() -> None:
            self.scores[method] += 1

        engines = self.plan.engines.wrap(lambda engine: _CountedScores(engine=engine, count=count))
        run = replace(self, plan=self.plan.with_engines(engines))
        await make_annotations(run, shard, method)


@dataclass(frozen=True, kw_only=True)
class _CountedScores(EngineWrapper):
    """An engine whose scoring calls are counted."""

    count: Callable[[], None]

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the score of the wrapped engine."""
        self.count()
        return await self.engine.score(prompt, continuation)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The size of what a pilot wrote."""

    files: int
    file_bytes: float
    """The mean size of the footer of a file."""
    row_bytes: float
    """The size of the rows of a problem, its stored completions included."""


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The traces of a pilot on which a stage failed; the costs of these traces are incomplete."""

    failed: int
    traces: int
    error: str
    """The most frequent error."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """A finished pilot. Its dataset is removed when the context of `run_pilot` ends."""

    dataset: Dataset
    problems: int
    scores: Mapping[str, int]
    """Scoring calls by method."""
    generated_tokens: int
    """Tokens that the pilot requested; stored ones are left out."""
    seconds: float
    sizes: Sizes
    failures: Mapping[str, Failures]
    """By stage, for the stages that failed on a trace."""


@asynccontextmanager
async def run_pilot(job: Job, remaining: Remaining) -> AsyncIterator[Pilot]:
    """Run all stages on the problems of the pilot, and give access to what they made.

    The caller holds the writer lock of the dataset.

    Raises:
        BudgetError: The pilot has reached the budget of the run file.
        EngineError: An engine failed for longer than stages are retried.
    """
    problem_ids = list[str]()
    for problems in remaining.pilot.values():
        problem_ids.extend(problem.problem_id for problem in problems)
    store = CompletionStore(
        job.dataset,
        flush_seconds=job.plan.run_file.shards.flush_seconds,
        report=job.meter.add_damaged,
    )
    await asyncio.to_thread(store.open)
    with TemporaryDirectory(prefix="stepmark-") as folder:
        target = Dataset(folder)
        await asyncio.to_thread(write_problems, job, target, SHARD, remaining.pilot)
        pilot = PilotJob(
            # Labels cost nothing, and filters can need all problems.
            plan=replace(job.plan, labeler=None, filters=()),
            dataset=target,
            meter=job.meter,
            options=job.options,
            workers=job.workers,
            problem_ids=problem_ids,
            pilot_store=store,
        )
        traces = target.count(TRACES)
        if makes_traces(job):
            traces = len(problem_ids) * job.plan.run_file.generate.traces_per_problem
            pilot.meter.expect("traces", traces)
        for method in job.plan.annotators:
            pilot.meter.expect(method, traces)
        started = time.perf_counter()
        await _run_stages(pilot)
        yield Pilot(
            dataset=target,
            problems=len(problem_ids),
            scores=pilot.scores,
            generated_tokens=pilot.meter.generated_tokens,
            seconds=time.perf_counter() - started,
            sizes=await asyncio.to_thread(_sizes, pilot, job.dataset),
            failures=await asyncio.to_thread(_failures, pilot),
        )


async def _run_stages(pilot: PilotJob) -> None:
    """Run the stages as `stepmark run` does, with its display and its retries."""

    def as_task(name: str, work: Work) -> Work:
        del name
        return with_retries(work, pilot.meter, RETRIES)

    progress = Progress(meter=pilot.meter, spending=pilot.spending, servers=pilot.servers)
    with show_progress(progress, as_json=pilot.options.json_progress), infrequent_gc():
        await run_shards(pilot, as_task, [SHARD], makes_traces=makes_traces(pilot))


def _failures(pilot: PilotJob) -> Mapping[str, Failures]:
    """Return on how many traces each stage failed, where it did."""
    errors = dict[str, Counter[str]]()
    traces = list(pilot.dataset.read_part(TRACES, SHARD))
    if makes_traces(pilot):
        errors["traces"] = Counter(trace.finish_reason for trace in filter(is_rejected, traces))
    for method in pilot.plan.annotators:
        column = pilot.dataset.column(annotations(method), SHARD, "error")
        errors[method] = Counter(error for error in column if error is not None)
    failures = dict[str, Failures]()
    for stage, counts in errors.items():
        if counts:
            ((error, _),) = counts.most_common(1)
            failures[stage] = Failures(failed=counts.total(), traces=len(traces), error=error)
    return failures


def _sizes(pilot: PilotJob, dataset: Dataset) -> Sizes:
    """Return the sizes of the parts in the temporary dataset, and of the pilot's completions."""
    files = 0
    total = 0
    rows = 0
    for table in pilot.dataset.tables():
        for path in pilot.dataset.paths(table):
            with pilot.dataset.folder.reading(path) as file:
                rows += row_bytes(file)
                total += file.seek(0, os.SEEK_END)
            files += 1
    per_problem = rows / len(pilot.problem_ids)
    stored_files = list(list_files(dataset.folder, [PILOT_SHARD]))
    for stored, header in read_headers(dataset.folder, stored_files):
        if isinstance(header, Header):
            with dataset.folder.reading(stored.path) as file:
                per_problem += row_bytes(file) / len(header.problem_ids)
    return Sizes(files=files, file_bytes=(total - rows) / files, row_bytes=per_problem)
