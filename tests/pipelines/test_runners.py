"""Workers behind relays, without a cluster: the relays are in this process."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from pipelines.run.config import RunSettings
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from pipelines.run.stages import run_stages
from pipelines.run.workers import coordinator as coordinator_module
from pipelines.run.workers import runners
from pipelines.run.workers.coordinator import run_in_workers
from pipelines.run.workers.protocol import Start, encode, error_fields
from pipelines.run.workers.relay import Relay
from pipelines.run.workers.runners import RemoteWorker, remote_runner
from stepmark.errors import BudgetError, ConfigError, InstallError, UserError, WorkerError
from tests.pipelines.running import REPOSITORY, WAIT_SECONDS, run_file
from tests.pipelines.test_workers import (
    RETRIES,
    TABLES,
    contents,
    job_of,
    run,
    searching_job,
    stop_during_search,
    worker_processes,
)

Reply = tuple[str, bytes, int | None]
REPLIES = {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}
START = Start(
    run_file="",
    makes_traces=True,
    options=RunOptions(),
    lock_descriptors=[7],
    ticket=None,
    retry_seconds=[],
    retries_before_first_answer=0,
)


@dataclass
class LocalHandle:
    """A relay in this process, as a cluster would run it elsewhere."""

    relay: Relay

    async def exchange(self, messages: bytes, wait_seconds: float) -> Reply:
        return await asyncio.to_thread(self.relay.exchange, messages, wait_seconds)

    async def kill(self) -> None:
        await asyncio.to_thread(self.relay.close)


@dataclass
class FakeHandle:
    """A relay whose replies a test gives; an exception is raised, and no reply never comes."""

    replies: list[Reply | Exception]
    sent: bytes = b""

    async def exchange(self, messages: bytes, wait_seconds: float) -> Reply:
        self.sent += messages
        if not self.replies:
            await asyncio.sleep(WAIT_SECONDS)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def kill(self) -> None:
        """Do nothing."""


class Cluster(contextlib.AbstractAsyncContextManager["Cluster"]):
    """A runner whose machines are this one."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""

    def worker(self, start: Start) -> RemoteWorker:
        async def create() -> LocalHandle:
            return LocalHandle(Relay(str(REPOSITORY), WAIT_SECONDS))

        return RemoteWorker(start, create)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_module, "remote_runner", lambda run: Cluster())


def worker_of(handle: FakeHandle) -> RemoteWorker:
    async def create() -> FakeHandle:
        return handle

    return RemoteWorker(START, create, silence_seconds=0.0)


def test_relays_make_the_same_tables(cluster: None, tmp_path: Path) -> None:
    local = job_of(run_file(tmp_path / "local", **TABLES), workers=1)
    run(local)
    engine = {"use": "scripted", "replies": REPLIES, "delay": 0.5}
    job = job_of(run_file(tmp_path / "relays", **{**TABLES, "engine": engine}))

    async def run_and_kill() -> None:
        run_all = partial(run_in_workers, retries=RETRIES)
        running = asyncio.create_task(run_stages(job, makes_traces=True, run_all=run_all))
        while not job.meter.generated_tokens:
            await asyncio.sleep(0.05)
        worker_processes(psutil.Process())[0].kill()
        await running

    asyncio.run(run_and_kill())
    assert contents(job.dataset) == contents(local.dataset)


def test_stopped_relays_store_completions(cluster: None, tmp_path: Path) -> None:
    assert asyncio.run(stop_during_search(searching_job(tmp_path)))
    assert worker_processes(psutil.Process()) == []


def test_silent_coordinator_ends_worker() -> None:
    relay = Relay(str(REPOSITORY), silence_seconds=0.0)
    assert relay._process.wait(WAIT_SECONDS) == -signal.SIGKILL
    relay.close()


async def test_messages_are_split_at_lines() -> None:
    replies: list[Reply | Exception] = [
        ("a", b'{"kind": "ne', None),
        ("a", b'xt"}\n{"kind": "done"}\n', None),
        ("a", b"", 0),
    ]
    handle = FakeHandle(replies)
    async with worker_of(handle) as worker:
        assert not worker.has_requested
        assert await worker.read() == {"kind": "next"}
        assert worker.has_requested
        assert await worker.read() == {"kind": "done"}
        assert await worker.read() is None
        assert await worker.reason_of_end() == "exit status 0"
    # The lock of the coordinator's machine is not passed on.
    assert b'"lock_descriptors": []' in handle.sent


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([("a", b"", None), OSError("no\nroute")], "no route"),
        ([("a", b"", None), ("b", b'{"kind": "next"}\n', None)], "it was started again"),
        ([("a", b"", None)], "no answer"),
    ],
    ids=["error", "restarted", "silent"],
)
async def test_lost_machine_ends_its_worker(
    replies: list[Reply | Exception], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "SILENCE_MARGIN_SECONDS", 0.0)
    async with worker_of(FakeHandle(replies)) as worker:
        assert await worker.read() is None
        assert await worker.reason_of_end() == f"its machine was lost: {reason}"
        assert worker.max_losses > runners.MAX_LOSSES


async def test_abandoned_worker_is_not_awaited() -> None:
    async with worker_of(FakeHandle([])) as worker:
        asyncio.get_running_loop().call_later(0.01, worker.abandon)
        assert await worker.read() is None


async def test_lost_cluster_ends_its_worker() -> None:
    async def create() -> FakeHandle:
        raise ValueError("the client\nis closed")

    async with RemoteWorker(START, create) as worker:
        assert await worker.read() is None
        assert await worker.reason_of_end() == "its machine was lost: the client is closed"


@pytest.mark.parametrize("status", ["running", "closed"])
async def test_lost_scheduler_is_not_awaited(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "EXCHANGE_SECONDS", 0.01)
    client = SimpleNamespace(status=status)
    relay = runners._DaskRelay(client, asyncio.get_running_loop().create_future())
    asyncio.get_running_loop().call_later(0.05, setattr, client, "status", "closed")
    with pytest.raises(ConnectionError, match="the scheduler has ended"):
        await relay.exchange(b"", 0.0)


def test_broken_machines_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Cluster):
        def worker(self, start: Start) -> RemoteWorker:
            return worker_of(FakeHandle([OSError("no such machine")]))

    monkeypatch.setattr(coordinator_module, "remote_runner", lambda run: Broken())
    with pytest.raises(WorkerError, match=r"before its first shard: .*no such machine"):
        run(job_of(run_file(tmp_path)))


def test_budget_abandons_missing_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = coordinator_module.MAX_FAILED_STARTS + 2
    failed = encode("failed", **error_fields(BudgetError("the budget is used")))
    handles = [FakeHandle([("a", encode("next"), None), ("a", failed, 0)])]
    # No machine becomes free for the others.
    handles.extend(FakeHandle([]) for _ in range(workers - 1))

    class Small(Cluster):
        def worker(self, start: Start) -> RemoteWorker:
            return worker_of(handles.pop(0))

    monkeypatch.setattr(coordinator_module, "remote_runner", lambda run: Small())
    problems = {"use": "word_problems", "count": 2 * workers}
    with pytest.raises(BudgetError, match=f"the limit of one of {workers} workers"):
        run(job_of(run_file(tmp_path, problems=problems), workers=workers))


@pytest.mark.parametrize(
    ("runner", "missing", "error", "message"),
    [
        ("ray", "ray", InstallError, r"pip install 'stepmark\[ray\]'"),
        ("dask", "distributed", InstallError, r"pip install 'stepmark\[dask\]'"),
        ("dask", "", ConfigError, "needs run.address"),
    ],
)
def test_unusable_cluster_is_one_line(
    runner: str,
    missing: str,
    error: type[UserError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    job: Job = job_of(run_file(tmp_path, run={"runner": runner, "workers": 2}))
    with pytest.raises(error, match=message):
        run(job)


def test_local_runs_need_no_runner() -> None:
    assert remote_runner(RunSettings()) is None
    factory: Callable[[RunSettings], Any] = remote_runner
    assert isinstance(factory(RunSettings(runner="ray")), runners.RayRunner)
