"""Runners: where the workers of a run are started.

Prefect's own runners for Ray and Dask are not used: a task of theirs needs a flow, and a flow needs
a Prefect server. Without a configured one, Prefect starts a server for each run, and another one in
each process of the cluster ("Timed out while attempting to connect to ephemeral Prefect API
server", prefect-ray 0.6.0 on two busy cores). With a configured server, Prefect shows the shards of
a run as tasks, whatever the runner is.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pipelines.run.config import RunSettings
from pipelines.run.workers.protocol import Start, encode
from pipelines.run.workers.relay import Relay
from stepmark.errors import ConfigError, InstallError

__all__ = [
    "MAX_LOSSES",
    "STOP_SECONDS",
    "DaskRunner",
    "RayRunner",
    "RemoteWorker",
    "Runner",
    "Worker",
    "remote_runner",
]

# Time for a worker to store its completions and to stop its engines.
STOP_SECONDS = 20.0
# A shard that loses a second worker probably is the reason.
MAX_LOSSES = 2
# Machines are taken away for other reasons than the shards on them.
MAX_MACHINE_LOSSES = 10
# A coordinator that is busy for this long is no reason to end its workers.
SILENCE_SECONDS = 30.0
# The margin covers the time that a reply takes.
SILENCE_MARGIN_SECONDS = 3.0
EXCHANGE_SECONDS = 1.0
CONNECT_SECONDS = 60
CLOSE_SECONDS = 5.0


class Worker(Protocol):
    """A worker process as its coordinator sees it. Leaving the context ends it."""

    counters: dict[str, Any]
    """The counters of its meter that have been added up."""
    has_requested: bool
    """Whether it has ever requested a shard."""

    @property
    def max_losses(self) -> int:
        """The number of workers that a shard may lose, if they end as this one did."""
        ...

    async def __aenter__(self) -> Self:
        """Start the process."""
        ...

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        ...

    def send(self, kind: str, **fields: object) -> None:
        """Send a message. A worker that has ended does not get it."""
        ...

    async def read(self) -> dict[str, Any] | None:
        """Return the next message; None if the process has ended."""
        ...

    async def reason_of_end(self) -> str:
        """Wait until the process has certainly ended, and return why."""
        ...

    def abandon(self) -> None:
        """Stop waiting for a worker that has not started yet."""
        ...


class Runner(Protocol):
    """The machines on which workers are started, while the context is open."""

    async def __aenter__(self) -> Self:
        """Connect to the machines."""
        ...

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        ...

    def worker(self, start: Start) -> Worker:
        """Return a worker that has yet to be started."""
        ...


class RelayHandle(Protocol):
    """A relay on another machine."""

    async def exchange(self, messages: bytes, wait_seconds: float) -> tuple[str, bytes, int | None]:
        """Call `Relay.exchange`; any exception means that the relay is lost."""
        ...

    async def kill(self) -> None:
        """End the relay and its worker, if they run."""
        ...


@dataclass(eq=False)
class RemoteWorker:
    """A worker process behind a relay."""

    start: Start
    create: Callable[[], Awaitable[RelayHandle]]
    silence_seconds: float = field(default_factory=lambda: SILENCE_SECONDS)
    counters: dict[str, Any] = field(default_factory=dict)
    has_requested: bool = False
    _relay: RelayHandle | None = None
    _session: str = ""
    _outbox: list[bytes] = field(default_factory=list)
    _lines: deque[bytes] = field(default_factory=deque)
    _partial: bytes = b""
    _status: int | None = None
    _lost: str = ""
    _answered: float = 0.0

    def __post_init__(self) -> None:
        self._abandoned = asyncio.Event()

    @property
    def max_losses(self) -> int:
        """More for a machine that was lost than for a process that ended."""
        return MAX_MACHINE_LOSSES if self._lost else MAX_LOSSES

    async def __aenter__(self) -> Self:
        try:
            self._relay = await self.create()
        # The cluster itself can be lost.
        except Exception as error:  # noqa: BLE001
            self._lost = _reason(error)
            return self
        # The lock of a folder cannot be inherited by a process of another machine.
        start = replace(self.start, lock_descriptors=())
        self.send("start", **start.fields())
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._relay is None:
            return
        try:
            if error is not None and self.has_requested:
                self.send("stop")
            if self.has_requested:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        while self._is_running:
                            await self._exchange()
        finally:
            with contextlib.suppress(Exception):
                await self._relay.kill()

    def send(self, kind: str, **fields: object) -> None:
        """Send a message with the next exchange."""
        self._outbox.append(encode(kind, **fields))

    async def read(self) -> dict[str, Any] | None:
        """Return the next message; None if the process has ended or its machine is lost."""
        while not self._lines:
            if not self._is_running:
                return None
            await self._exchange()
        message: dict[str, Any] = json.loads(self._lines.popleft())
        self.has_requested = self.has_requested or message["kind"] == "next"
        return message

    async def reason_of_end(self) -> str:
        """Return why the worker ended, once it has certainly ended."""
        if self._status is not None:
            return f"exit status {self._status}"
        # A machine that is only cut off can still write: its relay kills the worker by then.
        if self._answered:
            deadline = self._answered + self.silence_seconds + SILENCE_MARGIN_SECONDS
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
        return f"its machine was lost: {self._lost}"

    def abandon(self) -> None:
        """End the wait for a machine."""
        self._abandoned.set()

    @property
    def _is_running(self) -> bool:
        return self._status is None and not self._lost

    async def _exchange(self) -> None:
        """Send what waits to be sent, and read what the worker has sent."""
        assert self._relay is not None
        messages = b"".join(self._outbox)
        self._outbox.clear()
        call = asyncio.ensure_future(self._relay.exchange(messages, EXCHANGE_SECONDS))
        abandoned = asyncio.ensure_future(self._abandoned.wait())
        # The first call also waits for a machine with free resources.
        timeout = self.silence_seconds if self._answered else None
        try:
            await asyncio.wait([call, abandoned], timeout=timeout, return_when="FIRST_COMPLETED")
            if not call.done():
                self._lost = "no run needs it any more" if abandoned.done() else "no answer"
                return
            self._receive(*call.result())
        # Ray, Dask and their connections raise errors of many types.
        except Exception as error:  # noqa: BLE001
            self._lost = _reason(error)
        finally:
            call.cancel()
            abandoned.cancel()

    def _receive(self, session: str, output: bytes, status: int | None) -> None:
        if self._session not in ("", session):
            # Dask starts the relay of a lost machine again, without the messages sent before.
            self._lost = "it was started again"
            return
        self._session = session
        self._answered = time.monotonic()
        *lines, self._partial = (self._partial + output).split(b"\n")
        self._lines.extend(lines)
        self._status = status


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class RayRunner:
    """The machines of a Ray cluster, by Ray's own scheduler."""

    def __init__(self, run: RunSettings) -> None:
        self._run = run

    async def __aenter__(self) -> Self:
        # In a thread, where Ray cannot replace the handler of SIGTERM.
        await asyncio.to_thread(self._connect)
        return self

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray warns that it could not replace the handler.
        logging.getLogger("ray._private.worker").setLevel(logging.ERROR)
        try:
            import ray
        except ModuleNotFoundError as error:
            raise InstallError(
                "run.runner = 'ray' needs ray: pip install 'stepmark[ray]'"
            ) from error
        address = self._run.address or "auto"
        try:
            # Ray would print what its processes log to standard output, which is for results.
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ConfigError(
                f"there is no Ray cluster at {address}: start one with `ray start --head`, or name"
                " it in run.address"
            ) from error
        self._ray = ray

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._ray.shutdown)

    def worker(self, start: Start) -> RemoteWorker:
        """Return a worker on the machine that Ray chooses."""
        return RemoteWorker(start, self._create)

    async def _create(self) -> RelayHandle:
        actor_class = self._ray.remote(
            num_cpus=self._run.cpus_per_worker,
            num_gpus=self._run.gpus_per_worker,
            max_restarts=0,
        )(Relay)
        actor = await asyncio.to_thread(actor_class.remote, str(Path.cwd()), SILENCE_SECONDS)
        return _RayRelay(self._ray, actor)


@dataclass(frozen=True)
class _RayRelay:
    ray: Any
    actor: Any

    async def exchange(self, messages: bytes, wait_seconds: float) -> tuple[str, bytes, int | None]:
        reply: tuple[str, bytes, int | None] = await self.actor.exchange.remote(
            messages, wait_seconds
        )
        return reply

    async def kill(self) -> None:
        await asyncio.to_thread(self.ray.kill, self.actor)


class DaskRunner:
    """The machines of a Dask cluster."""

    def __init__(self, run: RunSettings) -> None:
        self._run = run

    async def __aenter__(self) -> Self:
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise InstallError(
                "run.runner = 'dask' needs distributed: pip install 'stepmark[dask]'"
            ) from error
        if not self._run.address:
            raise ConfigError(
                "run.runner = 'dask' needs run.address, such as tcp://scheduler:8786: start a"
                " cluster with `dask scheduler` and `dask worker`"
            )
        try:
            self._client = await Client(
                self._run.address, asynchronous=True, timeout=CONNECT_SECONDS
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"there is no Dask cluster at {self._run.address}") from error
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def worker(self, start: Start) -> RemoteWorker:
        """Return a worker on the machine that Dask chooses."""
        return RemoteWorker(start, self._create)

    async def _create(self) -> RelayHandle:
        resources: Mapping[str, float] | None = None
        if self._run.gpus_per_worker:
            resources = {"GPU": self._run.gpus_per_worker}
        future = self._client.submit(
            Relay, str(Path.cwd()), SILENCE_SECONDS, actor=True, pure=False, resources=resources
        )
        return _DaskRelay(self._client, future)


@dataclass
class _DaskRelay:
    client: Any
    future: Any
    actor: Any = None

    async def exchange(self, messages: bytes, wait_seconds: float) -> tuple[str, bytes, int | None]:
        if self.actor is None:
            self.actor = await self._started_actor()
        reply: tuple[str, bytes, int | None] = await self.actor.exchange(messages, wait_seconds)
        return reply

    async def kill(self) -> None:
        # A relay that cannot be reached ends its worker when nothing calls it.
        if self.actor is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.actor.close()
        await self.future.cancel()

    async def _started_actor(self) -> Any:
        started = asyncio.ensure_future(self.future)
        try:
            while not started.done():
                # Dask leaves the future pending when it can no longer reach the scheduler.
                if self.client.status == "closed":
                    raise ConnectionError("the scheduler has ended")
                await asyncio.wait([started], timeout=EXCHANGE_SECONDS)
            return started.result()
        finally:
            started.cancel()


def remote_runner(run: RunSettings) -> Runner | None:
    """Return the runner that a run file names; None for processes of this machine."""
    if run.runner == "ray":
        return RayRunner(run)
    if run.runner == "dask":
        return DaskRunner(run)
    return None
