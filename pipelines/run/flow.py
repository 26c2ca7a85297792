"""The run as a Prefect flow: one task per stage and shard, awaited in one event loop.

Prefect displays, retries and schedules the tasks. Their parameters are small keys (stage, shard,
method). Progress is recorded on disk alone, by parts and stored completions, so a run that was
killed makes only what is missing when it is started again, by hand or by Prefect.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from pipelines.run import plan as planning
from pipelines.run.config import load
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.prepared_job import get_prepared_job, set_prepared_job
from pipelines.run.stages import RunShards, run_shards, run_stages
from pipelines.run.workers.coordinator import Retries, run_in_workers
from pipelines.run.workers.retries import has_answered
from stepmark.errors import ConfigError, EngineError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES

__all__ = ["perform", "prefect_task", "prepare", "run_job", "stepmark_label", "stepmark_run"]

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
    return await run_job(job, makes_traces=True)


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(
    run_file: str, overrides: Sequence[str] = ()
) -> Sequence[Mapping[str, str]]:
    """Annotate and label the traces of a dataset and return the rows of the summary.

    `stepmark label` starts this flow.
    """
    job = get_prepared_job() or prepare(run_file, overrides, makes_traces=False)
    return await run_job(job, makes_traces=False)


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


def prepare(
    run_file: str,
    overrides: Sequence[str],
    options: RunOptions | None = None,
    *,
    makes_traces: bool,
) -> Job:
    """Read a run file, build its plugins, and check its input files, models and dataset.

    Raises:
        UserError: Something is missing or invalid. Nothing has been started.
    """
    settings = load(Path(run_file), overrides)
    plan = planning.build(settings, run_file)
    dataset = Dataset(settings.dataset)
    job = Job(plan=plan, dataset=dataset, meter=Meter(), options=options or RunOptions())
    if makes_traces:
        if plan.source is None or plan.engine is None:
            raise ConfigError(
                f"{run_file}: a run needs [problems] and [engine]; "
                "to label traces that exist use `stepmark label`"
            )
        # Fails if the weights of a local model cannot be read.
        job.fingerprints.solutions(plan.engine)
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


async def run_job(job: Job, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    """Run all stages as tasks, publish the summary as a Prefect artifact and return its rows."""
    await run_stages(
        job, partial(prefect_task, job), makes_traces=makes_traces, run_all=_shard_runner(job)
    )
    # Imported late: Prefect keeps the module of a flow alive until the process exits, and DuckDB
    # objects that the module references would then be reported as leaked.
    from pipelines.run.summary import summary_rows

    rows = await asyncio.to_thread(summary_rows, job.dataset, job.meter, job.plan.run_file.prices)
    await acreate_table_artifact(
        table=[dict(row) for row in rows], key="stepmark-summary", description=job.dataset.uri
    )
    return rows


def _shard_runner(job: Job) -> RunShards:
    """Return the function that runs the shards: in this process, or in several workers."""
    if job.options.workers == 1:
        return run_shards
    retries = Retries(seconds=RETRY_SECONDS, before_first_answer=RETRIES_BEFORE_FIRST_ANSWER)
    return partial(run_in_workers, retries=retries)


def prefect_task(
    job: Job, name: str, work: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the work as a Prefect task that is retried after retryable engine errors only."""

    async def is_retryable(_task: object, run: TaskRun, state: State[Any]) -> bool:
        if not has_answered(job.meter) and run.run_count > RETRIES_BEFORE_FIRST_ANSWER:
            return False
        return await _failed_with_retryable_error(state)

    tracked: Callable[..., Coroutine[Any, Any, Any]] = task(
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
    return tracked


async def _failed_with_retryable_error(state: State[Any]) -> bool:
    try:
        await state.aresult()
    except EngineError as error:
        return error.retryable
    except Exception:  # noqa: BLE001  # a retry would only repeat any other error
        return False
    return False
