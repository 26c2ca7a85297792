"""The run as a Prefect flow: one task per stage and shard, awaited in one event loop.

Prefect displays, retries and schedules the tasks. Their parameters are small keys (stage, shard,
method). Progress is recorded by the parts on disk alone, so a run that was killed makes only what
is missing when it is started again, by hand or by Prefect.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from annotators.concurrency import gather_or_cancel
from pipelines.run import plan as planning
from pipelines.run.config import load
from pipelines.run.infrequent_gc import infrequent_gc
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.prepared_job import get_prepared_job, set_prepared_job
from pipelines.run.progress import progress_bar
from pipelines.run.token_budget import TokenBudget
from stepmark.errors import ConfigError, DatasetError, EngineError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES

__all__ = ["perform", "prepare", "run_stages", "stepmark_label", "stepmark_run"]

# Waits before the retries of a task, for a server that is busy or restarting.
RETRY_SECONDS = (2.0, 10.0, 60.0)
# Retries while no engine has answered yet: after that the address is probably wrong rather than the
# server busy or restarting.
RETRIES_BEFORE_FIRST_ANSWER = 2


@flow(name="stepmark-run", flow_run_name="run {run_file}", validate_parameters=False)
async def stepmark_run(run_file: str, overrides: Sequence[str] = ()) -> Sequence[Mapping[str, str]]:
    """Run all stages of a run file and return the rows of the summary.

    `stepmark run` and schedules start this flow.
    """
    job = get_prepared_job() or prepare(run_file, overrides, makes_traces=True)
    return await run_stages(job, makes_traces=True)


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(
    run_file: str, overrides: Sequence[str] = ()
) -> Sequence[Mapping[str, str]]:
    """Annotate and label the traces of a dataset and return the rows of the summary.

    `stepmark label` starts this flow.
    """
    job = get_prepared_job() or prepare(run_file, overrides, makes_traces=False)
    return await run_stages(job, makes_traces=False)


async def perform(
    job: Job, run_file: str, overrides: Sequence[str], *, makes_traces: bool
) -> Sequence[Mapping[str, str]]:
    """Run the flow on a job that `prepare` returned for the same arguments.

    Models and evaluation sets, which can be large, are thus read only once.
    """
    # A new meter, because its clock starts when it is created.
    set_prepared_job(replace(job, meter=Meter()))
    stepmark_flow = stepmark_run if makes_traces else stepmark_label
    return await stepmark_flow(run_file, overrides)


def prepare(run_file: str, overrides: Sequence[str], *, makes_traces: bool) -> Job:
    """Read a run file, build its plugins, and check its input files, models and dataset.

    Raises:
        UserError: Something is missing or invalid. Nothing has been started.
    """
    settings = load(Path(run_file), overrides)
    plan = planning.build(settings)
    dataset = Dataset(settings.dataset)
    job = Job(plan=plan, dataset=dataset, meter=Meter())
    if makes_traces:
        if plan.source is None or plan.engine is None:
            raise ConfigError(
                f"{run_file}: a run needs [problems] and [engine]; "
                "to label traces that exist use `stepmark label`"
            )
        _ = job.fingerprints.traces  # fails if the weights of a local model cannot be read
        next(iter(plan.source.problems()), None)  # fails if the problems cannot be read
    job.fingerprints.filters()  # fails if an evaluation set cannot be read
    if not makes_traces:
        dataset.require()
    elif _has_imported_traces(dataset):
        raise ConfigError(
            f"{dataset.uri} holds imported traces: run into another folder, "
            "or label them with `stepmark label`"
        )
    dataset.check_writable()
    return job


def _has_imported_traces(dataset: Dataset) -> bool:
    """Return whether the traces of a dataset were imported.

    Imported traces carry no sampling parameters, and a dataset holds at most one import, so the
    first trace of the first complete part is enough.
    """
    for shard in dataset.shards(TRACES):
        if dataset.footer(TRACES, shard) is not None:
            first = list(islice(dataset.read_part(TRACES, shard), 1))
            return any(trace.sampling is None for trace in first)
    return False


async def run_stages(job: Job, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    """Run all stages, publish the summary as a Prefect artifact and return its rows."""
    try:
        with job.dataset.writer_lock(), progress_bar(job.meter), infrequent_gc():
            # Removes unfinished files of killed runs, which is safe only while the lock is held.
            await asyncio.to_thread(job.dataset.sweep)
            shards = await _prepare_shards(job, makes_traces=makes_traces)
            await asyncio.to_thread(
                job.dataset.write_run_file,
                job.plan.run_file.to_toml(),
                labels_only=not makes_traces,
            )
            await _run_shards(job, shards, makes_traces=makes_traces)
            if job.plan.labels_need_all_shards:
                await _task(job, "labels", job.labelling.label_all)()
    finally:
        await job.close()
    # Imported late: Prefect keeps the module of a flow alive until the process exits, and DuckDB
    # objects that the module references would then be reported as leaked.
    from pipelines.run.summary import summary_rows

    rows = await asyncio.to_thread(summary_rows, job.dataset, job.meter, job.plan.run_file.prices)
    await acreate_table_artifact(
        table=[dict(row) for row in rows], key="stepmark-summary", description=job.dataset.uri
    )
    return rows


async def _prepare_shards(job: Job, *, makes_traces: bool) -> Sequence[int]:
    """Return the shards to work on, after removing what a different run file left in them."""
    if makes_traces:
        traces_keys = dict[int, str]()
        problems_keys = await _task(job, "problems", job.make_problems)()
        for shard, problems_key in problems_keys.items():
            traces_keys[shard] = job.fingerprints.traces_part_key(problems_key)
    else:
        traces_keys = await asyncio.to_thread(_existing_traces, job.dataset)
    if not traces_keys:
        raise DatasetError(f"{job.dataset.uri} holds no traces: import some with `stepmark import`")
    # Before anything is removed: an engine that is down must not cost existing data.
    await job.check_engines(traces_keys)
    await asyncio.to_thread(job.remove_stale_parts, traces_keys)
    return sorted(traces_keys)


def _existing_traces(dataset: Dataset) -> dict[int, str]:
    """Return the part keys of the traces of a dataset, by shard."""
    part_keys = dict[int, str]()
    for shard in dataset.shards(TRACES):
        footer = dataset.footer(TRACES, shard)
        if footer is None:
            raise DatasetError(
                f"{dataset.uri}/traces/part-{shard:05d}.parquet is damaged, or of another version: "
                "import or run again"
            )
        part_keys[shard] = footer.part_key
    return part_keys


async def _run_shards(job: Job, shards: Sequence[int], *, makes_traces: bool) -> None:
    """Run the stages of all shards, several shards at a time.

    The next shard is started as soon as the outstanding requests are below the token budget, so the
    engines do not run idle while a shard waits for its last trace. A new shard is visible in the
    budget from its first request on; the loop waits for that request before it checks the budget
    again. After an error no further shard is started.
    """
    limits = job.plan.run_file.shards
    budget = TokenBudget(limits.tokens_in_flight)
    slots = asyncio.Semaphore(limits.shards_in_flight)

    async def run_shard(shard: int, first_request: asyncio.Event) -> None:
        try:
            metered = job.metered(budget, first_request)
            await _run_shard(metered, shard, first_request, makes_traces=makes_traces)
        finally:
            # A shard that sends no request, or fails, must not block the loop below.
            first_request.set()
            slots.release()

    try:
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                await slots.acquire()
                await budget.wait_until_low()
                first_request = asyncio.Event()
                group.create_task(run_shard(shard, first_request))
                await first_request.wait()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _run_shard(
    job: Job, shard: int, first_request: asyncio.Event, *, makes_traces: bool
) -> None:
    """Run all stages of one shard."""
    if makes_traces:
        await _task(job, f"traces-{shard}", job.make_traces)(shard)
    if not all(spec.plugin.needs for spec in job.plan.annotators.values()):
        # A method without an engine may be busy for long before the first request, and its work is
        # not in the budget.
        first_request.set()
    for wave in job.plan.waves:
        await gather_or_cancel(
            _task(job, f"{spec.name}-{shard}", job.make_annotations)(shard, spec.name)
            for spec in wave
        )
    if makes_traces and job.plan.oracle is not None:
        await _task(job, f"oracle-{shard}", job.make_oracle)(shard)
    if not job.plan.labels_need_all_shards:
        await _task(job, f"labels-{shard}", job.labelling.label)(shard)


def _task(
    job: Job, name: str, work: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the work as a Prefect task that is retried after retryable engine errors only."""

    async def is_retryable(_task: object, run: TaskRun, state: State[Any]) -> bool:
        if not _has_answered(job) and run.run_count > RETRIES_BEFORE_FIRST_ANSWER:
            return False
        return await _failed_with_retryable_error(state)

    prefect_task: Callable[..., Coroutine[Any, Any, Any]] = task(
        # All shards of a stage share the task name; the name of the task run includes the shard.
        name=name.rpartition("-")[0] or name,
        task_run_name=name,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=is_retryable,
        # Results are the parts on disk. Prefect must not store them or skip a task because of them.
        persist_result=False,
        cache_policy=NO_CACHE,
    )(work)
    return prefect_task


def _has_answered(job: Job) -> bool:
    """Return whether any engine has answered a request of this run."""
    return job.meter.generated_tokens > 0 or job.meter.done["traces"] > 0


async def _failed_with_retryable_error(state: State[Any]) -> bool:
    try:
        await state.aresult()
    except EngineError as error:
        return error.retryable
    except Exception:  # noqa: BLE001  # a retry would only repeat any other error
        return False
    return False
