"""The run as a Prefect flow: a task for every stage and shard, awaited in one event loop.

Prefect shows, retries and schedules. Its parameters are small keys (stage, shard, method); what has been done is told by the parts on
disk, so a run that is killed and started again, by hand or by Prefect, makes only what is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import get_current_settings

from pipelines import plan as planning
from pipelines.config import load
from pipelines.meter import Meter
from pipelines.progress import shown
from pipelines.stages import Job
from stepmark.errors import ConfigError, DatasetError, EngineError
from storage.dataset import Dataset
from storage.tables import TRACES

__all__ = ["has_server", "prepare", "stepmark_label", "stepmark_run"]

RETRIES = 3
RETRY_SECONDS = [2.0, 10.0, 60.0]


@flow(name="stepmark-run", flow_run_name="run {run_file}", validate_parameters=False)
async def stepmark_run(run_file: str, overrides: Sequence[str] = ()) -> Sequence[Mapping[str, str]]:
    """The whole job of a run file, as `stepmark run` and schedules start it; returns the rows of its summary."""
    job = prepare(run_file, overrides)
    if job.plan.source is None or job.plan.engine is None:
        raise ConfigError(f"{run_file}: a run needs [problems] and [engine]; to label traces that exist use `stepmark label`")
    return await _work(job, makes_traces=True)


@flow(name="stepmark-label", flow_run_name="label {run_file}", validate_parameters=False)
async def stepmark_label(run_file: str, overrides: Sequence[str] = ()) -> Sequence[Mapping[str, str]]:
    """Annotate and label the traces that a dataset holds, as `stepmark label` starts it; returns the rows of its summary."""
    return await _work(prepare(run_file, overrides), makes_traces=False)


def prepare(run_file: str, overrides: Sequence[str]) -> Job:
    """Read the run file and build everything it names; nothing has been started or written yet."""
    settings = load(Path(run_file), overrides)
    return Job(plan=planning.build(settings), dataset=Dataset(settings.dataset), meter=Meter())


def has_server() -> bool:
    """Whether a Prefect server is configured; without one each run starts its own for as long as it lasts."""
    return get_current_settings().api.url is not None


async def _work(job: Job, *, makes_traces: bool) -> Sequence[Mapping[str, str]]:
    job.dataset.check_writable()
    job.dataset.sweep()
    try:
        with shown(job.meter):
            shards = await _shards(job, makes_traces=makes_traces)
            job.dataset.write_run_file(job.plan.run_file.to_toml())
            gate = asyncio.Semaphore(job.plan.run_file.shards.shards_in_flight)
            await asyncio.gather(*(_shard(job, shard, gate, makes_traces=makes_traces) for shard in shards))
    finally:
        await job.close()
    # Imported late: Prefect never lets go of a flow's module at exit, and what it held of DuckDB would be reported as leaked.
    from pipelines.summary import summary_rows

    rows = summary_rows(job.dataset, job.meter, job.plan.run_file.prices)
    await acreate_table_artifact(table=[dict(row) for row in rows], key="stepmark-summary", description=job.dataset.uri)
    return rows


async def _shards(job: Job, *, makes_traces: bool) -> Sequence[int]:
    """The shards to work on; what an earlier, different run file left in them is dropped first, so that rows never mix."""
    if makes_traces:
        count = await _task("problems", asyncio.to_thread)(job.make_problems)
        traces = dict.fromkeys(range(count), job.plan.traces_fingerprint())
    else:
        footers = {shard: job.dataset.footer(TRACES, shard) for shard in job.dataset.shards(TRACES)}
        traces = {shard: footer.fingerprint for shard, footer in footers.items() if footer is not None}
    if not traces:
        raise DatasetError(f"{job.dataset.uri} holds no {'problems' if makes_traces else 'traces: import some with `stepmark import`'}")
    job.drop_stale(traces)
    return sorted(traces)


async def _shard(job: Job, shard: int, gate: asyncio.Semaphore, *, makes_traces: bool) -> None:
    """All stages of one shard; the methods of a shard run side by side, as do shards."""
    async with gate:
        if makes_traces:
            await _task(f"traces-{shard}", job.make_traces)(shard)
            await _task(f"oracle-{shard}", job.make_oracle)(shard)
        methods = list(job.plan.annotators)
        await asyncio.gather(*(_task(f"{method}-{shard}", job.make_annotations)(shard, method) for method in methods))
        await _task(f"labels-{shard}", job.make_labels)(shard)


def _task(name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A Prefect task that is tried again when, and only when, the engine says that trying again can help."""
    made: Callable[..., Awaitable[Any]] = task(
        name=name.rpartition("-")[0] or name,
        task_run_name=name,
        retries=RETRIES,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=_is_retryable,
        persist_result=False,
        cache_policy=NO_CACHE,
    )(work)
    return made


async def _is_retryable(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    try:
        await state.aresult()
    except EngineError as error:
        return error.retryable
    except Exception:  # noqa: BLE001  # anything else is a mistake that trying again repeats
        return False
    return False
