"""The run as a Prefect flow: one task per stage and shard, awaited in one event loop.

Prefect displays, retries and schedules the tasks. Their parameters are small keys (stage, shard,
method). Progress is recorded on disk alone, by parts and stored completions, so a run that was
killed makes only what is missing when it is started again, by hand or by Prefect.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from pipelines.run import execution
from pipelines.run.code_folder import code_folder_of
from pipelines.run.config import RunFile, load, parse
from pipelines.run.flow_control import CancelledInPrefectError, stopped_by_server
from pipelines.run.flow_display import FlowDisplay, displayed
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from pipelines.run.preparation import prepare
from pipelines.run.prepared_job import PreparedJob, get_prepared_job, set_prepared_job
from pipelines.run.retries import RETRIES
from pipelines.run.run_date import date_in, with_date
from pipelines.run.transient import may_repeat_stage
from pipelines.stop_signals import StoppedError, cancelled_by_signals
from stepmark.errors import DatasetBusyError

__all__ = ["perform", "prefect_task", "stepmark_label", "stepmark_run"]

Rows = Sequence[Mapping[str, str]]


@flow(name="stepmark-run", flow_run_name="run {run_file}", validate_parameters=False)
async def stepmark_run(
    run_file: str,
    overrides: Sequence[str] = (),
    timezone: str = "UTC",
    settings: Mapping[str, Any] | None = None,
) -> Rows | State[Any]:
    """Run all stages of a run file, and return the rows of the summary.

    `stepmark run`, schedules and deployments start this flow.

    Args:
        run_file: The path of the run file.
        overrides: Assignments `table.key=value` that override keys of the run file.
        timezone: The time zone in which the scheduled time of the flow run becomes `{date}`.
        settings: The content of the run file, for machines that do not have it.

    Returns:
        The rows, or a state that says why the dataset is not complete.
    """
    return await _run(run_file, overrides, timezone, settings, makes_traces=True)


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(
    run_file: str,
    overrides: Sequence[str] = (),
    timezone: str = "UTC",
    settings: Mapping[str, Any] | None = None,
) -> Rows | State[Any]:
    """Annotate and label the traces of a dataset, and return the rows of the summary.

    `stepmark label` starts this flow. The arguments and the result are those of `stepmark_run`.
    """
    return await _run(run_file, overrides, timezone, settings, makes_traces=False)


async def perform(job: Job, run_file: str, overrides: Sequence[str], *, makes_traces: bool) -> Rows:
    """Run the flow on a job that was prepared from the same arguments.

    Models and evaluation sets, which can be large, are thus read only once.

    Raises:
        StoppedError: The run was cancelled on the server.
        Pause: The run was paused on the server.
    """
    prepared = PreparedJob(job=job)
    set_prepared_job(prepared)
    stepmark_flow = stepmark_run if makes_traces else stepmark_label
    state: State[Any] = await stepmark_flow(run_file, overrides, return_state=True)
    if prepared.rows is None:
        if state.is_cancelled():
            raise StoppedError.of_server("a cancellation in Prefect")
        # The error that ended the flow.
        await state.aresult()
        raise AssertionError(f"a flow without a summary ended as {state.name}")
    return prepared.rows


async def _run(
    run_file: str,
    overrides: Sequence[str],
    timezone: str,
    settings: Mapping[str, Any] | None,
    *,
    makes_traces: bool,
) -> Rows | State[Any]:
    """Run all stages as tasks while the server displays them; see `stepmark_run`."""
    _leave_ctrl_c_to_parent()
    prepared = get_prepared_job()
    if prepared is None:
        run_settings = _settings(run_file, overrides, timezone, settings)
        # The log of the flow run has the progress.
        options = RunOptions(shows_progress=False)
        job = prepare(
            run_settings,
            options,
            run_file=run_file,
            makes_traces=makes_traces,
            code_folder=code_folder_of(Path(run_file)),
        )
        prepared = PreparedJob(job=job)
        is_deployed = True
    else:
        job = prepared.job
        is_deployed = False
    display = FlowDisplay(job=job, command="run" if makes_traces else "label")
    if not is_deployed and display.url is not None:
        print(f"flow run: {display.url}", flush=True)  # noqa: T201
    work = execution.run_job(job, partial(prefect_task, job), makes_traces=makes_traces)
    try:
        async with displayed(display):
            # Prefect's own handler raises an error wherever the event loop is, and can lose it
            # there.
            rows = await stopped_by_server(cancelled_by_signals(work))
    except StoppedError as stopped:
        display.log(_stopped_line(job, str(stopped)), warning=True)
        raise TerminationSignal(stopped.number) from None
    except CancelledInPrefectError:
        line = display.public(_stopped_line(job, "a cancellation in Prefect"))
        display.log(line, warning=True)
        return Cancelled(message=line)
    except DatasetBusyError as busy:
        if not is_deployed:
            raise
        display.log(f"skipped: {busy}", warning=True)
        return Cancelled(name="Skipped", message=display.public(str(busy)))
    prepared.rows = rows
    labels: Sequence[Mapping[str, Any]] = ()
    # Other slices replace parts while a query would read them.
    if job.options.slice is None:
        # Imported late for the reason that `execution.run_job` has.
        from pipelines.run.label_table import label_table

        labels = await asyncio.to_thread(label_table, job.dataset)
    await display.finish(rows, labels)
    return await asyncio.to_thread(_final_state, display, rows)


def _leave_ctrl_c_to_parent() -> None:
    """Ignore Ctrl-C in a process that a worker or `stepmark schedule` has started.

    A terminal sends it to both. The parent then sends SIGTERM, after which the run stores what it
    has and its state is set; Ctrl-C would end the process before that.
    """
    context = FlowRunContext.get()
    is_child = (
        context is not None
        and context.flow_run is not None
        and context.flow_run.deployment_id is not None
    )
    if is_child and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _settings(
    run_file: str, overrides: Sequence[str], timezone: str, settings: Mapping[str, Any] | None
) -> RunFile:
    """Return the settings of a flow run that a deployment has started."""
    context = FlowRunContext.get()
    scheduled = None
    if context is not None and context.flow_run is not None:
        # The same when the run is repeated or resumed.
        scheduled = context.flow_run.expected_start_time
    day = date_in(timezone, scheduled)
    if settings is not None:
        return parse(with_date(settings, day, run_file), run_file)
    return load(Path(run_file), overrides, day=day)


def _stopped_line(job: Job, reason: str) -> str:
    return (
        f"stopped by {reason}: finished parts and all completions"
        f" ({job.meter.generated_tokens} generated tokens of this run) are stored in"
        f" {job.dataset.uri}; the next run of it goes on"
    )


def _final_state(display: FlowDisplay, rows: Rows) -> Rows | State[Any]:
    """Return the rows, or the state of a run that is not complete, or failed in part."""
    job = display.job
    if job.meter.stopped:
        message = f"{job.meter.stopped}; the next run of {display.dataset} goes on"
        return Completed(name="BudgetUsed", message=message)
    if job.options.slice is not None:
        # The run of the whole dataset checks the share of failures.
        return rows
    from pipelines.run.summary import failed_methods

    allowed = job.plan.run_file.limits.failed_share
    failed = failed_methods(job.dataset, list(job.plan.annotators), allowed)
    if failed:
        methods = ", ".join(f"{method} on {100 * share:.3g}%" for method, share in failed.items())
        return Failed(message=f"methods failed on too many traces (limits.failed_share): {methods}")
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
