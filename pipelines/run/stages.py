"""The order of a run's stages: which shard and which method may start when.

A stage is a coroutine of `Job`. `as_task` wraps it, so that Prefect can show and retry it; without
Prefect the stages run as they are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from annotators.concurrency import gather_or_cancel
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.batches import forget_batches, record_batches
from pipelines.run.infrequent_gc import infrequent_gc
from pipelines.run.job import Job
from pipelines.run.metrics import serve_metrics
from pipelines.run.migration import migrate, shards_of_format_1
from pipelines.run.progress import Progress, show_progress
from pipelines.run.token_budget import TokenBudget
from pipelines.run.tracing import Attributes
from stepmark.errors import ContinuationError, DatasetError
from stepmark.secrets import without_secrets
from storage.dataset.dataset import Dataset
from storage.dataset.readme import write_readme
from storage.dataset.tables import PROBLEMS, TRACES, Table

__all__ = [
    "AsTask",
    "RunShards",
    "Work",
    "run_assigned_shards",
    "run_shards",
    "run_stages",
    "untracked",
]

Work = Callable[..., Coroutine[Any, Any, Any]]
AsTask = Callable[[str, Work], Work]
"""Takes the name of a task, such as "traces-3", and its work; returns the work as a task."""


def untracked(name: str, work: Work) -> Work:
    """Return the work itself: a task that nothing shows or retries."""
    del name
    return work


class RunShards(Protocol):
    """A function that runs the stages of all shards, as `run_shards` does."""

    async def __call__(
        self, job: Job, as_task: AsTask, shards: Sequence[int], *, makes_traces: bool
    ) -> None:
        """Run the stages of all shards."""
        ...


async def run_stages(
    job: Job,
    as_task: AsTask = untracked,
    *,
    makes_traces: bool,
    run_all: RunShards | None = None,
) -> None:
    """Run all stages of a job, and close its engines and workers.

    Args:
        job: The job.
        as_task: Wraps a stage as a task.
        makes_traces: Whether to make problems and traces, or to label those that exist.
        run_all: Runs the stages of all shards; `run_shards` by default.

    Raises:
        ReplacesError: The run would replace traces; nothing was changed.
        EngineError: An engine failed for longer than the tasks are retried.
    """
    part = job.options.slice
    record_batches(job.plan.engines, job.dataset)
    try:
        with (
            job.tracing.parent(),
            job.tracing.span("stepmark.run", _run_attributes(job)),
            serve_metrics(job.plan.run_file.run, job.spending),
            job.dataset.writer_lock(part),
            _progress(job),
            infrequent_gc(),
        ):
            await _prepare_dataset(job)
            run_file = job.plan.run_file.to_toml()
            if makes_traces:
                problems_keys = await as_task("problems", job.make_problems)()
                shards = _own_shards(job, range(len(problems_keys)))
                await asyncio.to_thread(_expect_traces, job, shards)
                run_file = job.target(problems_keys) + run_file
            else:
                shards = await asyncio.to_thread(_existing_traces, job)
            await asyncio.to_thread(
                job.dataset.write_run_file, run_file, labels_only=not makes_traces
            )
            run_all = run_all or run_shards
            await run_all(job, as_task, shards, makes_traces=makes_traces)
            # What needs all shards is left to a run of the whole dataset.
            if part is None:
                await _finish_dataset(job, as_task, shards, makes_traces=makes_traces)
    finally:
        await job.close()


def _run_attributes(job: Job) -> Attributes:
    return {
        "stepmark.dataset": without_secrets(job.dataset.uri),
        "stepmark.workers": job.worker_count,
    }


async def _prepare_dataset(job: Job) -> None:
    """Remove or migrate what earlier runs and versions left; the caller holds the writer lock."""
    if job.options.slice is None:
        # Removes unfinished files of killed runs. Those of other slices can be in use.
        await asyncio.to_thread(job.dataset.sweep)
        await migrate(job.dataset)
    elif await asyncio.to_thread(shards_of_format_1, job.dataset):
        raise DatasetError(
            f"{job.dataset.uri} was written by an older version: migrate it with one run without"
            " --shards"
        )


async def _finish_dataset(
    job: Job, as_task: AsTask, shards: Sequence[int], *, makes_traces: bool
) -> None:
    """Do what needs the stages of all shards to be finished."""
    if makes_traces:
        await asyncio.to_thread(job.remove_other_shards, shards)
    # Before the labels: they can be fitted to human labels.
    await asyncio.to_thread(job.restore_stale_labels)
    if job.plan.labels_need_all_shards:
        await as_task("labels", job.labelling.label_all)()
    if job.plan.labeler is None:
        await asyncio.to_thread(job.remove_labels)
    await asyncio.to_thread(write_readme, job.dataset)


def _own_shards(job: Job, shards: Sequence[int]) -> Sequence[int]:
    """Return the shards that this run makes."""
    part = job.options.slice
    return [shard for shard in shards if part is None or shard in part]


def _progress(job: Job) -> AbstractContextManager[None]:
    if not job.options.shows_progress:
        return nullcontext()
    progress = Progress(meter=job.meter, spending=job.spending, servers=job.servers)
    return show_progress(progress, as_json=job.options.json_progress)


def _expect_traces(job: Job, shards: Sequence[int]) -> None:
    """Set what the run has to do: the traces of all problems."""
    problems = sum(job.reader.footer(PROBLEMS, shard).rows for shard in shards)
    traces = problems * job.plan.run_file.generate.traces_per_problem
    job.meter.expect("traces", traces)
    _expect_annotations(job, traces)


def _expect_annotations(job: Job, traces: int) -> None:
    for method in job.plan.annotators:
        job.meter.expect(method, traces)


def _existing_traces(job: Job) -> Sequence[int]:
    """Return the shards of this run that have traces, and set what the run has to do.

    Raises:
        DatasetError: There are none, or the traces of a shard are damaged or missing.
    """
    dataset = job.dataset
    all_shards = dataset.shards(TRACES)
    if not all_shards:
        raise DatasetError(f"{dataset.uri} holds no traces: import some with `stepmark import`")
    for table in dataset.tables():
        if table.kind in ("annotations", "labels"):
            # Other slices can be writing theirs.
            _check_traces_of(dataset, table, _own_shards(job, dataset.shards(table)), all_shards)
    shards = _own_shards(job, all_shards)
    traces = 0
    for shard in shards:
        footer = dataset.footer(TRACES, shard)
        if footer is None:
            raise DatasetError(
                f"{dataset.uri}/traces/part-{shard:05d}.parquet is damaged: import or run again"
            )
        traces += footer.rows
    _expect_annotations(job, traces)
    return shards


def _check_traces_of(
    dataset: Dataset, table: Table[Any], shards: Sequence[int], shards_with_traces: Sequence[int]
) -> None:
    """Raise an error if one of a table's shards has lost its traces."""
    for shard in shards:
        if shard not in shards_with_traces:
            raise DatasetError(
                f"{dataset.uri}/{dataset.path(TRACES, shard)} is missing, but there is"
                f" {dataset.path(table, shard)}: import or run again"
            )


async def run_shards(
    job: Job, as_task: AsTask, shards: Sequence[int], *, makes_traces: bool
) -> None:
    """Run the stages of all shards in this process; see `run_assigned_shards`."""
    remaining = iter(shards)

    async def next_shard() -> int | None:
        return next(remaining, None)

    await run_assigned_shards(job, as_task, next_shard, makes_traces=makes_traces)


async def run_assigned_shards(
    job: Job,
    as_task: AsTask,
    next_shard: Callable[[], Awaitable[int | None]],
    finish: Callable[[int], None] = lambda shard: None,
    *,
    makes_traces: bool,
) -> None:
    """Run the stages of shards, several shards at a time.

    The next shard is started as soon as the outstanding requests are below the token budget, so the
    engines do not run idle while a shard waits for its last trace. A new shard is visible in the
    budget from its first request on; the loop waits for that request before it checks the budget
    again. After an error no further shard is started. The exception is a method that needs an
    engine to continue answers, where it does not: all other methods annotate all shards first.

    Args:
        job: The job.
        as_task: Wraps a stage as a task.
        next_shard: Returns the shard to start next; None if no shard is left.
        finish: Called when all parts of a shard and its completions are written.
        makes_traces: Whether to make the traces of a shard.
    """
    limits = job.plan.run_file.shards
    budget = TokenBudget(limits.tokens_in_flight)
    slots = asyncio.Semaphore(limits.in_flight())
    uncompacted = await asyncio.to_thread(job.uncompacted_shards)
    refusals: list[ContinuationError] = []

    async def run_shard(shard: int, first_request: asyncio.Event) -> None:
        completions = job.completions(shard)
        stored = job.with_stored_engines(completions, budget, first_request)
        finished = False
        try:
            with job.tracing.span("stepmark.shard", {"stepmark.shard": shard}):
                refusal = await _run_shard(
                    stored, as_task, shard, first_request, makes_traces=makes_traces
                )
            if refusal is not None:
                refusals.append(refusal)
                return
            if shard in uncompacted:
                # An earlier run was killed before it compacted this shard. If all parts are
                # complete, nothing else opens its completions.
                await completions.store()
            finished = True
        finally:
            # Completions are stored even if the shard fails or is cancelled: they have cost tokens.
            await _run_to_end(completions.close(compact=finished))
            # A shard that sends no request, or fails, must not block the loop below.
            first_request.set()
            slots.release()
        finish(shard)

    try:
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                await budget.wait_until_low()
                shard = await next_shard()
                if shard is None:
                    break
                first_request = asyncio.Event()
                group.create_task(run_shard(shard, first_request))
                await first_request.wait()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    if refusals:
        raise refusals[0]
    # All completions of the shards are written now.
    await forget_batches(job.plan.engines)


async def _run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work, and wait for its end also if the caller is cancelled meanwhile.

    When two shards fail at once, the failure of one cancels the other while it stores completions.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.result()  # raises the error of the work, if it failed
        raise


async def _run_shard(
    job: Job,
    as_task: AsTask,
    shard: int,
    first_request: asyncio.Event,
    *,
    makes_traces: bool,
) -> ContinuationError | None:
    """Run all stages of one shard.

    Returns:
        The error of a method whose engine does not continue answers. Methods that depend on it have
        not run then, and there are no labels.
    """
    if makes_traces:
        await as_task(f"traces-{shard}", job.make_traces)(shard)
    if not all(spec.plugin.needs for spec in job.plan.annotators.values()):
        # A method without an engine may be busy for long before the first request, and its work is
        # not in the budget.
        first_request.set()
    refusal = await _annotate_shard(job, as_task, shard)
    if refusal is not None:
        return refusal
    if makes_traces and job.plan.oracle is not None:
        await as_task(f"oracle-{shard}", job.make_oracle)(shard)
    if not job.plan.labels_need_all_shards:
        await as_task(f"labels-{shard}", job.labelling.label)(shard)
    return None


async def _annotate_shard(job: Job, as_task: AsTask, shard: int) -> ContinuationError | None:
    """Run all methods on one shard, and return the error of one that cannot; see `_run_shard`."""
    refusals = dict[str, ContinuationError]()

    async def annotate(spec: AnnotatorSpec) -> None:
        for dependency in spec.depends_on:
            if dependency.name in refusals:
                refusals[spec.name] = refusals[dependency.name]
                return
        attributes: Attributes = {"stepmark.method": spec.name, "stepmark.shard": shard}
        try:
            with job.tracing.span("stepmark.method", attributes):
                await as_task(f"{spec.name}-{shard}", job.make_annotations)(shard, spec.name)
        except ContinuationError as error:
            refusals[spec.name] = error

    for wave in job.plan.waves:
        await gather_or_cancel(annotate(spec) for spec in wave)
    return next(iter(refusals.values()), None)
