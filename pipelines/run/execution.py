"""The execution of a prepared run: all stages, and then the summary.

`stepmark run` and `stepmark label` do this directly, or within a Prefect flow if a Prefect server
is configured (see `pipelines.run.flow`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from pipelines.run.batches import price_factors_by_method
from pipelines.run.filtering import filter_name
from pipelines.run.job import Job
from pipelines.run.retries import RETRIES, with_retries
from pipelines.run.stages import AsTask, RunShards, Work, run_shards, run_stages
from pipelines.run.workers.coordinator import run_in_workers
from stepmark.errors import BudgetError

__all__ = ["run_job", "run_without_server"]


async def run_without_server(job: Job, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    """Run all stages, and return the rows of the summary.

    Raises:
        ReplacesError: The run would replace traces; nothing was changed.
        EngineError: An engine failed for longer than the stages are retried.
    """

    def as_task(name: str, work: Work) -> Work:
        del name
        return with_retries(work, job.meter, RETRIES)

    return await run_job(job, as_task, makes_traces=makes_traces)


async def run_job(job: Job, as_task: AsTask, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    """Run all stages as tasks, and return the rows of the summary.

    A run that reaches its budget stops; `Meter.stopped` says so.
    """
    try:
        await run_stages(job, as_task, makes_traces=makes_traces, run_all=_shard_runner(job))
    except BudgetError as error:
        job.meter.stopped = str(error)
    # Imported late: Prefect keeps the module of a flow alive until the process exits, and DuckDB
    # objects that the module references would then be reported as leaked.
    from pipelines.run.summary import slice_rows, summary_rows

    if job.options.slice is not None:
        # Other slices replace parts while a query would read them.
        return slice_rows(job.meter, job.options.slice)
    prices = job.plan.run_file.prices
    factors = price_factors_by_method(job.plan)
    filters = [filter_name(item) for item in job.plan.filters]
    return await asyncio.to_thread(summary_rows, job.dataset, job.meter, prices, factors, filters)


def _shard_runner(job: Job) -> RunShards:
    """Return the function that runs the shards: in this process, or in several workers."""
    # With one process, the process of the command makes the shards, unless they are made elsewhere.
    if job.worker_count == 1 and job.plan.run_file.run.runner == "local":
        return run_shards
    return partial(run_in_workers, retries=RETRIES)
