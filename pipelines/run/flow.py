"""The run as a Prefect flow: a task for every stage and shard, awaited in one event loop.

Prefect shows, retries and schedules. Its parameters are small keys (stage, shard, method); what has been done is told by the parts on
disk, so a run that is killed and started again, by hand or by Prefect, makes only what is missing.
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
from pipelines.run.infrequent_gc import seldom_sought
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.prepared_job import hand_over, handed_over
from pipelines.run.progress import shown
from pipelines.run.token_budget import Demand
from stepmark.errors import ConfigError, DatasetError, EngineError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES

__all__ = ["perform", "prepare", "stepmark_label", "stepmark_run"]

RETRY_SECONDS = (2.0, 10.0, 60.0)
PATIENCE = 2
"""Retries while no engine has answered anything yet: then its address is rather wrong than its server busy or starting again."""


@flow(name="stepmark-run", flow_run_name="run {run_file}", validate_parameters=False)
async def stepmark_run(run_file: str, overrides: Sequence[str] = ()) -> Sequence[Mapping[str, str]]:
    """The whole job of a run file, as `stepmark run` and schedules start it; returns the rows of its summary."""
    return await _work(
        handed_over() or prepare(run_file, overrides, makes_traces=True), makes_traces=True
    )


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(
    run_file: str, overrides: Sequence[str] = ()
) -> Sequence[Mapping[str, str]]:
    """Annotate and label the traces that a dataset holds, as `stepmark label` starts it; returns the rows of its summary."""
    return await _work(
        handed_over() or prepare(run_file, overrides, makes_traces=False), makes_traces=False
    )


async def perform(
    job: Job, run_file: str, overrides: Sequence[str], *, makes_traces: bool
) -> Sequence[Mapping[str, str]]:
    """Have the flow do a job that was prepared from these: models and evaluation sets, which can be large, are read once."""
    hand_over(replace(job, meter=Meter()))  # whose clock starts here
    return await (stepmark_run if makes_traces else stepmark_label)(run_file, overrides)


def prepare(run_file: str, overrides: Sequence[str], *, makes_traces: bool) -> Job:
    """Read the run file, build all it names and look at its files and models, so that what is missing is told before anything starts."""
    settings = load(Path(run_file), overrides)
    plan = planning.build(settings)
    if makes_traces:
        if plan.source is None or plan.engine is None:
            raise ConfigError(
                f"{run_file}: a run needs [problems] and [engine]; to label traces that exist use `stepmark label`"
            )
        plan.traces_fingerprint()  # reads the model's weights
        next(iter(plan.source.problems()), None)
    plan.filters_fingerprints()  # reads the evaluation sets
    dataset = Dataset(settings.dataset)
    if not makes_traces:
        dataset.require()
    elif _holds_imports(dataset):
        raise ConfigError(
            f"{dataset.uri} holds traces that were imported: run into another folder, or label them with `stepmark label`"
        )
    dataset.check_writable()
    return Job(plan=plan, dataset=dataset, meter=Meter())


def _holds_imports(dataset: Dataset) -> bool:
    """Nobody told how imported traces were sampled, and an import is alone in its dataset: the first whole part says it."""
    whole = (shard for shard in dataset.shards(TRACES) if dataset.footer(TRACES, shard) is not None)
    return any(
        trace.sampling is None
        for shard in islice(whole, 1)
        for trace in islice(dataset.read_part(TRACES, shard), 1)
    )


async def _work(job: Job, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    try:
        with job.dataset.alone(), shown(job.meter), seldom_sought():
            await asyncio.to_thread(job.dataset.sweep)
            shards = await _shards(job, makes_traces=makes_traces)
            await asyncio.to_thread(
                job.dataset.write_run_file,
                job.plan.run_file.to_toml(),
                labels_only=not makes_traces,
            )
            await _work_off_all(job, shards, makes_traces=makes_traces)
            if job.plan.labels_wait:
                await _task(job, "labels", job.labelling.label_all)()
    finally:
        await job.close()
    # Imported late: Prefect never lets go of a flow's module at exit, and what it held of DuckDB would be reported as leaked.
    from pipelines.run.summary import summary_rows

    rows = await asyncio.to_thread(summary_rows, job.dataset, job.meter, job.plan.run_file.prices)
    await acreate_table_artifact(
        table=[dict(row) for row in rows], key="stepmark-summary", description=job.dataset.uri
    )
    return rows


async def _shards(job: Job, *, makes_traces: bool) -> Sequence[int]:
    """The shards to work on; what an earlier, different run file left in them is dropped first, so that rows never mix."""
    if makes_traces:
        problems = await _task(job, "problems", job.make_problems)()
        traces = {shard: job.plan.traces_stamp(stamp) for shard, stamp in problems.items()}
    else:
        traces = await asyncio.to_thread(
            lambda: {shard: _stamp_of(job.dataset, shard) for shard in job.dataset.shards(TRACES)}
        )
    if not traces:
        raise DatasetError(f"{job.dataset.uri} holds no traces: import some with `stepmark import`")
    await job.ask_before_dropping(traces)
    await asyncio.to_thread(job.drop_stale, traces)
    return sorted(traces)


def _stamp_of(dataset: Dataset, shard: int) -> str:
    footer = dataset.footer(TRACES, shard)
    if footer is None:
        raise DatasetError(
            f"{dataset.uri}/traces/part-{shard:05d}.parquet is damaged, or of another version: import or run again"
        )
    return footer.fingerprint


async def _work_off_all(job: Job, shards: Sequence[int], *, makes_traces: bool) -> None:
    """Every shard; the next is begun as soon as the open ones ask too little of the engines, so that nobody waits for a shard's last trace.

    A shard counts from its first request on, so it is waited for before the demand is looked at again. An error leaves the rest unbegun.
    """
    bounds = job.plan.run_file.shards
    demand, places = Demand(bounds.tokens_in_flight), asyncio.Semaphore(bounds.shards_in_flight)

    async def work_off(shard: int, asking: asyncio.Event) -> None:
        try:
            await _work_off(job.counted(demand, asking), shard, asking, makes_traces=makes_traces)
        finally:
            asking.set()
            places.release()

    try:
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                await places.acquire()
                await demand.low()
                asking = asyncio.Event()
                group.create_task(work_off(shard, asking))
                await asking.wait()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _work_off(job: Job, shard: int, asking: asyncio.Event, *, makes_traces: bool) -> None:
    """All stages of one shard."""
    if makes_traces:
        await _task(job, f"traces-{shard}", job.make_traces)(shard)
    if not all(annotator.needs for annotator in job.plan.annotators.values()):
        asking.set()  # of the checkers, which no demand is counted for
    for wave in job.plan.waves:
        await gather_or_cancel(
            _task(job, f"{method}-{shard}", job.make_annotations)(shard, method) for method in wave
        )
    if makes_traces and job.plan.oracle is not None:
        await _task(job, f"oracle-{shard}", job.make_oracle)(shard)
    if not job.plan.labels_wait:
        await _task(job, f"labels-{shard}", job.labelling.label)(shard)


def _task(
    job: Job, name: str, work: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A Prefect task that is tried again when, and only when, the engine says that trying again can help."""

    async def is_retryable(_task: object, run: TaskRun, state: State[Any]) -> bool:
        return (_has_answered(job) or run.run_count <= PATIENCE) and await _may_pass(state)

    made: Callable[..., Coroutine[Any, Any, Any]] = task(
        name=name.rpartition("-")[0] or name,
        task_run_name=name,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=is_retryable,
        persist_result=False,
        cache_policy=NO_CACHE,
    )(work)
    return made


def _has_answered(job: Job) -> bool:
    return job.meter.generated_tokens > 0 or job.meter.done["traces"] > 0


async def _may_pass(state: State[Any]) -> bool:
    try:
        await state.aresult()
    except EngineError as error:
        return error.retryable
    except Exception:  # noqa: BLE001  # anything else is a mistake that trying again repeats
        return False
    return False
