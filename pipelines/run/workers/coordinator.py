"""The coordinator of a run with several workers: it starts them and assigns shards to them.

The coordinator is the process of the command. It makes the problems, holds the writer lock, makes
labels that need all shards, and shows the progress of all workers together. A worker process makes
the shards that are assigned to it (see `worker`). No two processes ever write one part: a shard is
assigned again only when its worker has ended.

A shard is one task, "shard-N", which ends when a worker has finished it. The stages of a shard are
not tasks: a worker does not import Prefect, which takes seconds and 100 MB, and Prefect could show,
but not retry, what runs in another process. Workers retry their stages themselves, after the same
errors and as often as tasks are retried.

A worker that dies is replaced, and its shards are assigned again, each of them once. The new worker
has what the old one has left of its part of the budget.

The first worker that has used its part of the budget ends the run: the others send no further
request, and end when their open requests are answered.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engines.base import ServersHealth
from engines.runtime.rate_limit import SHARED_FIELDS
from pipelines.run.config import RunFile
from pipelines.run.engine_pool import ROLES
from pipelines.run.job import Job
from pipelines.run.retries import Retries
from pipelines.run.stages import AsTask
from pipelines.run.workers.assignment import Assignment
from pipelines.run.workers.protocol import (
    MAX_LINE_BYTES,
    USED,
    Start,
    add_change,
    encode,
    error_of,
)
from pipelines.run.workers.relay import WORKER_MODULE
from pipelines.run.workers.runners import (
    MAX_LOSSES,
    STOP_SECONDS,
    Runner,
    Worker,
    remote_runner,
)
from stepmark.errors import BudgetError, ConfigError, WorkerError

__all__ = ["run_in_workers"]

COMMAND = (sys.executable, "-P", "-m", WORKER_MODULE)
# The run ends when so many workers in a row have died before they requested a shard.
MAX_FAILED_STARTS = 10
# How long shards wait for the start of all workers: a cluster can have fewer machines than that.
WAIT_FOR_WORKERS_SECONDS = 60.0


async def run_in_workers(
    job: Job,
    as_task: AsTask,
    shards: Sequence[int],
    *,
    makes_traces: bool,
    retries: Retries,
) -> None:
    """Run the stages of all shards in as many worker processes as the job's options say.

    The caller holds the writer lock.

    Raises:
        BudgetError: A worker has used its part of the budget.
        ConfigError: The dataset is in the memory of this process.
        EngineError: An engine failed for longer than stages are retried.
        UserError: A worker cannot go on.
        WorkerError: A worker died before its first shard, or two died with the same shard.
    """
    if not shards:
        return
    count = min(job.worker_count, len(shards))
    start = _start(job, count, makes_traces=makes_traces, retries=retries)
    runner = remote_runner(job.plan.run_file.run) or _LocalRunner()
    try:
        async with runner:
            await _Coordinator(job, as_task, start, shards, count, runner).run()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def _start(job: Job, count: int, *, makes_traces: bool, retries: Retries) -> Start:
    folder = job.dataset.folder
    if job.dataset.uri.startswith("memory://"):
        raise ConfigError(
            f"{job.dataset.uri} exists in one process only: workers need a folder or a bucket"
        )
    return Start(
        run_file=_with_limits_of_one(job.plan.run_file, count).to_toml(with_secrets=True),
        code_folder=str(job.plan.code_folder) if job.plan.code_folder else None,
        plugin_files=job.plan.plugin_files(),
        makes_traces=makes_traces,
        options=job.options,
        lock_descriptors=folder.lock_descriptors,
        ticket=folder.lease.ticket if folder.lease is not None else None,
        retry_seconds=retries.seconds,
        retries_before_first_answer=retries.before_first_answer,
    )


def _with_limits_of_one(run_file: RunFile, count: int) -> RunFile:
    """Return the run file of one of `count` workers, with its part of all limits."""
    shards = run_file.shards
    budget = run_file.budget
    # Rounded up, because 0 tokens mean no limit.
    parts = {"tokens": -(-budget.tokens // count), "cost": budget.cost / count}
    limits = {
        "tokens_in_flight": max(1, shards.tokens_in_flight // count),
        "shards_in_flight": shards.in_flight(count),
    }
    return run_file.model_copy(
        update={
            "shards": shards.model_copy(update=limits),
            "budget": budget.model_copy(update=parts),
            **_engines_of_one(run_file, count),
        }
    )


def _engines_of_one(run_file: RunFile, count: int) -> Mapping[str, object]:
    """Return the tables of the engines with the rate limits of one of `count` workers."""

    def divided(table: Mapping[str, Any]) -> Mapping[str, Any]:
        limits = {key: table[key] / count for key in SHARED_FIELDS if key in table}
        return {**table, **limits}

    tables = dict[str, object]()
    for role in ROLES:
        table = getattr(run_file, role)
        if table:
            tables[role] = divided(table)
    if run_file.engines:
        tables["engines"] = {name: divided(table) for name, table in run_file.engines.items()}
    return tables


class _Coordinator:
    """The workers of a run and what is assigned to them."""

    def __init__(
        self,
        job: Job,
        as_task: AsTask,
        start: Start,
        shards: Sequence[int],
        count: int,
        runner: Runner,
    ) -> None:
        self._count = count
        self._runner = runner
        self._job = job
        self._as_task = as_task
        self._start = start
        self._assignment = Assignment[Worker](shards, count, self._send_shard)
        self._finished = {shard: asyncio.Event() for shard in shards}
        # A shard that is assigned again keeps its task.
        self._shards_with_task = set[int]()
        self._workers = list[Worker]()
        self._budget_error: BudgetError | None = None
        self._failed_starts = 0
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Run workers until all shards are finished."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(WAIT_FOR_WORKERS_SECONDS, self._assignment.wait_for_no_more)
        try:
            async with self._group:
                for _ in range(self._count):
                    self._group.create_task(self._run_workers())
        finally:
            timer.cancel()

    async def _run_workers(self) -> None:
        """Run one worker at a time, and replace it when it has died."""
        used = dict.fromkeys(USED, 0)
        while not self._assignment.is_finished and self._budget_error is None:
            start = replace(
                self._start,
                used=used,
                seconds=self._job.meter.seconds,
                span=self._job.tracing.environment(),
            )
            async with self._runner.worker(start) as worker:
                # What earlier workers used is in the meter of the run already.
                worker.counters.update(used)
                self._workers.append(worker)
                try:
                    await self._serve(worker)
                finally:
                    self._job.meter.worker_servers.pop(id(worker), None)
                self._workers.remove(worker)
            used = {name: worker.counters[name] for name in USED}
        if self._budget_error is not None and not self._workers:
            raise self._budget_error

    async def _serve(self, worker: Worker) -> None:
        """Read the messages of a worker until it has ended."""
        while message := await worker.read():
            match message.pop("kind"):
                case "next":
                    self._failed_starts = 0
                    self._assignment.request(worker)
                case "finished":
                    self._finished[message["shard"]].set()
                    self._assignment.finish(worker, message["shard"])
                    if self._assignment.is_finished:
                        self._abandon_starting_workers()
                case "meter":
                    add_change(self._job.meter, worker.counters, message)
                    worker.counters = message
                case "servers":
                    self._job.meter.worker_servers[id(worker)] = _servers_of(message["engines"])
                case "failed":
                    error = error_of(message)
                    if not isinstance(error, BudgetError):
                        raise error
                    self._stop_at_budget(worker, error)
                    return
                case "done":
                    return
        await self._replace(worker)

    def _stop_at_budget(self, worker: Worker, error: BudgetError) -> None:
        """Let the other workers end like this one, when their open requests are answered."""
        if self._budget_error is None:
            self._budget_error = BudgetError(f"{error}, the limit of one of {self._count} workers")
            for other in self._workers:
                if other is not worker:
                    other.send("budget", limit=str(self._budget_error))
            self._abandon_starting_workers()
        # A worker that waits for these shards ends at its first request.
        self._assignment.lose(worker)

    def _abandon_starting_workers(self) -> None:
        """Stop waiting for workers that have not started: no shard is left for them."""
        for worker in self._workers:
            if not worker.has_requested:
                worker.abandon()

    async def _replace(self, worker: Worker) -> None:
        """Assign the shards of a worker that died to other workers."""
        if self._assignment.is_finished:
            return
        # Only a process that has ended cannot write any more.
        reason = await worker.reason_of_end()
        # Its requests have ended with it.
        open_requests = dict.fromkeys(worker.counters.get("open_requests", {}), 0)
        add_change(self._job.meter, worker.counters, {"open_requests": open_requests})
        lost = self._assignment.lose(worker)
        if self._budget_error is not None:
            # The run ends anyway, and machines that it waited for were abandoned.
            return
        if lost is None and not worker.has_requested:
            self._failed_starts += 1
            if worker.max_losses == MAX_LOSSES or self._failed_starts >= MAX_FAILED_STARTS:
                raise WorkerError(f"a worker process ended before its first shard: {reason}")
        if lost is not None and lost[1] >= worker.max_losses:
            count = "two" if lost[1] == MAX_LOSSES else str(lost[1])
            raise WorkerError(
                f"{count} worker processes ended while they made shard {lost[0]} (the last one:"
                f" {reason}); finished parts are kept, run again"
            )

    def _send_shard(self, worker: Worker, shard: int | None) -> None:
        worker.send("shard", shard=shard)
        if shard is not None and shard not in self._shards_with_task:
            self._shards_with_task.add(shard)
            wait_for_shard = self._as_task(f"shard-{shard}", self._finished[shard].wait)
            self._group.create_task(wait_for_shard())


def _servers_of(engines: Mapping[str, Mapping[str, Any]]) -> dict[str, ServersHealth]:
    servers = dict[str, ServersHealth]()
    for name, values in engines.items():
        servers[name] = ServersHealth(**values)
    return servers


class _LocalRunner(contextlib.AbstractAsyncContextManager["_LocalRunner"]):
    """This machine."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: the workers have ended."""

    def worker(self, start: Start) -> "_WorkerProcess":
        """Return a worker process."""
        return _WorkerProcess(start)


@dataclass(eq=False)
class _WorkerProcess:
    """A process that runs `pipelines.run.workers.worker`. Leaving the context ends it."""

    start: Start
    counters: dict[str, Any] = field(default_factory=dict)
    """The counters of its meter that have been added up."""
    has_requested: bool = False
    """Whether it has ever requested a shard."""
    max_losses: int = MAX_LOSSES

    async def __aenter__(self) -> Self:
        # The worker finds plugins where this process does; an empty entry is the current folder.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=self.start.lock_descriptors,
            start_new_session=True,  # so that only the coordinator handles Ctrl-C
        )
        self.send("start", **self.start.fields())
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None and error is not None:
            self.send("stop")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def send(self, kind: str, **fields: object) -> None:
        """Send a message. A worker that has ended does not get it."""
        assert self._process.stdin is not None
        self._process.stdin.write(encode(kind, **fields))

    async def read(self) -> dict[str, Any] | None:
        """Return the next message; None if the process has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        self.has_requested = self.has_requested or message["kind"] == "next"
        return message

    def abandon(self) -> None:
        """Do nothing: the process starts soon, and finds that no shard is left."""

    async def reason_of_end(self) -> str:
        """Wait until the process has ended, and return why."""
        status = await self._process.wait()
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"
