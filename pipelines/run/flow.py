"""The run as a Prefect flow: one task per stage and shard, awaited in one event loop.

Prefect displays, retries and schedules the tasks. Their parameters are small keys (stage, shard,
method). Progress is recorded on disk alone, by parts and stored completions, so a run that was
killed makes only what is missing when it is started again, by hand or by Prefect.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import TerminationSignal

from pipelines.run import execution
from pipelines.run.config import load
from pipelines.run.job import Job
from pipelines.run.preparation import prepare
from pipelines.run.prepared_job import get_prepared_job, set_prepared_job
from pipelines.run.retries import RETRIES
from pipelines.run.transient import may_repeat_stage
from pipelines.stop_signals import StoppedError, cancelled_by_signals

__all__ = ["perform", "prefect_task", "stepmark_label", "stepmark_run"]


@flow(name="stepmark-run", flow_run_name="run {run_file}", validate_parameters=False)
async def stepmark_run(run_file: str, overrides: Sequence[str] = ()) -> Sequence[Mapping[str, str]]:
    """Run all stages of a run file and return the rows of the summary.

    `stepmark run` and schedules start this flow.
    """
    return await _run(run_file, overrides, makes_traces=True)


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(
    run_file: str, overrides: Sequence[str] = ()
) -> Sequence[Mapping[str, str]]:
    """Annotate and label the traces of a dataset and return the rows of the summary.

    `stepmark label` starts this flow.
    """
    return await _run(run_file, overrides, makes_traces=False)


async def perform(
    job: Job, run_file: str, overrides: Sequence[str], *, makes_traces: bool
) -> Sequence[Mapping[str, str]]:
    """Run the flow on a job that was prepared from the same arguments.

    Models and evaluation sets, which can be large, are thus read only once.
    """
    set_prepared_job(job)
    stepmark_flow = stepmark_run if makes_traces else stepmark_label
    return await stepmark_flow(run_file, overrides)


async def _run(
    run_file: str, overrides: Sequence[str], *, makes_traces: bool
) -> Sequence[Mapping[str, str]]:
    """Run all stages as tasks, publish the summary as a Prefect artifact and return its rows."""
    job = get_prepared_job()
    if job is None:
        settings = load(Path(run_file), overrides)
        job = prepare(settings, run_file=run_file, makes_traces=makes_traces)
    work = execution.run_job(job, partial(prefect_task, job), makes_traces=makes_traces)
    try:
        # Prefect's own handler raises an error wherever the event loop is, and can lose it there.
        rows = await cancelled_by_signals(work)
    except StoppedError as stopped:
        raise TerminationSignal(stopped.number) from None
    await acreate_table_artifact(
        table=[dict(row) for row in rows], key="stepmark-summary", description=job.dataset.uri
    )
    return rows


def prefect_task(
    job: Job, name: str, work: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the work as a Prefect task that is retried after retryable engine errors only."""

    async def is_retryable(_task: object, run: TaskRun, state: State[Any]) -> bool:
        # The first run is no retry.
        if RETRIES.are_pointless(job.meter, run.run_count - 1):
            return False
        return await _failed_with_retryable_error(state)

    tracked: Callable[..., Coroutine[Any, Any, Any]] = task(
        # All shards of a stage share the task name; the name of the task run includes the shard.
        name=name.rpartition("-")[0] or name,
        task_run_name=name,
        retries=len(RETRIES.seconds),
        retry_delay_seconds=list(RETRIES.seconds),
        retry_condition_fn=is_retryable,
        # Results are the parts on disk. Prefect must not store them or skip a task because of them.
        persist_result=False,
        cache_policy=NO_CACHE,
    )(work)
    return tracked


async def _failed_with_retryable_error(state: State[Any]) -> bool:
    try:
        await state.aresult()
    except Exception as error:  # noqa: BLE001  # a retry would only repeat any other error
        return may_repeat_stage(error)
    return False
