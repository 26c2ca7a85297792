"""A worker process: it makes the shards that its coordinator assigns; see `protocol`.

It builds the plan from the resolved run file, so it has its own engines, verifier processes and
store of completions. An engine that runs a model inside its process (`vllm` without a server,
`pocket`) therefore loads the model once per worker.

The process ends at once when its input ends, that is, when the coordinator dies in any way.
"""

import asyncio
import contextlib
import json
import os
import platform
import threading
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines.base import ServersHealth
from pipelines.run import plan as planning
from pipelines.run.batches import record_batches
from pipelines.run.config import parse
from pipelines.run.infrequent_gc import infrequent_gc
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.retries import Retries, with_retries
from pipelines.run.stages import Work, run_assigned_shards
from pipelines.run.tracing import configured_tracing
from pipelines.run.workers.protocol import Start, encode, error_fields, meter_values
from pipelines.terminal import show_engine_warnings
from stepmark.errors import ConfigError, EngineError, UserError
from storage.dataset.dataset import Dataset

__all__ = ["main"]

# As often as the progress display is refreshed.
REPORT_SECONDS = 0.5
READ_BYTES = 2**16
COORDINATOR_ENDED = 1


def main() -> None:
    """Make the shards that the coordinator assigns through standard input."""
    show_engine_warnings()
    requests, replies = _take_standard_streams()
    messages = _messages(requests)
    coordinator = _Coordinator(messages, replies)
    try:
        start = Start.of(coordinator.read_start())
        for descriptor in start.lock_descriptors:
            # Processes that this one starts do not hold the lock.
            os.set_inheritable(descriptor, False)
        asyncio.run(_work(start, coordinator))
        coordinator.send("done")
    except (UserError, EngineError) as error:
        coordinator.send("failed", **error_fields(error))
    except asyncio.CancelledError:
        # The coordinator has sent `stop`. It needs no answer.
        return


def _take_standard_streams() -> tuple[int, int]:
    """Return the descriptors of the two pipes, and hide them from plugins and their output."""
    requests = os.dup(0)
    replies = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _messages(descriptor: int) -> Iterator[dict[str, Any]]:
    """Yield the messages of the coordinator until it has ended.

    The descriptor is read directly: the thread that waits for it must not hold the lock of a file
    object when the interpreter ends.
    """
    buffer = b""
    while data := os.read(descriptor, READ_BYTES):
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


@dataclass
class _Coordinator:
    """The coordinator, as its worker sees it."""

    messages: Iterator[dict[str, Any]]
    replies: int
    _shards: "asyncio.Queue[int | None]" = field(default_factory=asyncio.Queue)

    def read_start(self) -> dict[str, Any]:
        """Return the fields of the first message."""
        message = next(self.messages, None)
        if message is None:
            raise SystemExit(COORDINATOR_ENDED)
        del message["kind"]
        return message

    def listen(self, meter: Meter) -> None:
        """Read further messages in a thread, and cancel the current task at `stop`.

        At `budget` the meter says why the run stops, so that no further request is sent.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def read() -> None:
            # The loop is closed if `stop` arrives when the worker has just ended by itself.
            with contextlib.suppress(RuntimeError):
                for message in self.messages:
                    if message["kind"] == "stop":
                        loop.call_soon_threadsafe(task.cancel)
                    elif message["kind"] == "budget":
                        meter.stopped = message["limit"]
                    else:
                        loop.call_soon_threadsafe(self._shards.put_nowait, message["shard"])
            # Another run may acquire the lock now, so nothing more may be written.
            os._exit(COORDINATOR_ENDED)

        threading.Thread(target=read, daemon=True).start()

    async def next_shard(self) -> int | None:
        """Request a shard and wait for it; None if no shard is left."""
        self.send("next")
        return await self._shards.get()

    def send(self, kind: str, **fields: object) -> None:
        """Send a message."""
        line = encode(kind, **fields)
        while line:
            line = line[os.write(self.replies, line) :]


async def _work(start: Start, coordinator: _Coordinator) -> None:
    meter = Meter()
    # The budget is that of the run: the worker goes on where the one that it replaces ended.
    meter.started -= start.seconds
    for name, count in start.used.items():
        setattr(meter, name, count)
    coordinator.listen(meter)
    job = _job(start, meter)
    record_batches(job.plan.engines, job.dataset)
    retries = Retries(
        seconds=start.retry_seconds, before_first_answer=start.retries_before_first_answer
    )

    def as_task(name: str, work: Work) -> Work:
        del name
        return with_retries(work, job.meter, retries)

    def finish(shard: int) -> None:
        # The counters come first, so that a finished shard is always counted.
        coordinator.send("meter", **meter_values(job.meter))
        coordinator.send("finished", shard=shard)

    reporting = asyncio.create_task(_report(job, coordinator))
    try:
        with infrequent_gc(), job.tracing.parent(start.span):
            await run_assigned_shards(
                job,
                as_task,
                coordinator.next_shard,
                finish,
                makes_traces=start.makes_traces,
            )
    finally:
        reporting.cancel()
        await job.close()
        coordinator.send("meter", **meter_values(job.meter))


def _job(start: Start, meter: Meter) -> Job:
    run_file = parse(tomllib.loads(start.run_file), "run.toml")
    dataset = Dataset(run_file.dataset)
    if start.ticket is not None:
        dataset.folder.watch_lease(start.ticket)
    code_folder = Path(start.code_folder) if start.code_folder else None
    plan = planning.build(run_file, code_folder=code_folder)
    for identity, content in plan.plugin_files().items():
        # Another copy on this machine, or one that was edited after the start of the run.
        if start.plugin_files.get(identity) != content:
            raise ConfigError(
                f"the plugin file of {identity} in {code_folder} on {platform.node()} is not the "
                "one that the run was started with: copy it there, or start the run again"
            )
    return Job(
        plan=plan,
        dataset=dataset,
        meter=meter,
        options=start.options,
        tracing=configured_tracing(),
    )


async def _report(job: Job, coordinator: _Coordinator) -> None:
    """Send the counters and the state of the servers whenever they have changed."""
    sent = dict[str, Any]()
    sent_servers: Mapping[str, ServersHealth] = {}
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        servers = job.servers()
        if servers != sent_servers:
            engines = {name: asdict(health) for name, health in servers.items()}
            coordinator.send("servers", engines=engines)
            sent_servers = servers
        values = meter_values(job.meter)
        if values != sent:
            coordinator.send("meter", **values)
            sent = values


if __name__ == "__main__":
    main()
