"""The writer lock: its owner is named, and a dead owner is replaced."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest

from stepmark.errors import DatasetError
from storage.dataset import lease as lease_module
from storage.dataset.dataset import Dataset
from storage.dataset.lease import (
    EXPIRY_SECONDS,
    HeldLease,
    LeaseLostError,
    Owner,
    WatchedLease,
    renewing,
)
from storage.dataset.tables import PROBLEMS
from tests.pipelines.running import REPOSITORY
from tests.storage.samples import PROBLEM

# Holds the lock until it is killed.
HOLDER = """
import sys, time
from storage.dataset.dataset import Dataset
with Dataset(sys.argv[1]).writer_lock():
    print("locked", flush=True)
    time.sleep(600)
"""


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root() -> str:
    return f"/{uuid.uuid4().hex}/dataset"


@pytest.fixture
def fs() -> Any:
    return fsspec.filesystem("memory")


def start_holder(folder: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), "run.toml", "--set", "engine.key=secret"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_local_lock_names_its_owner(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    try:
        with pytest.raises(DatasetError) as refused, Dataset(str(tmp_path)).writer_lock():
            pass
    finally:
        # Killed, so that it cannot release the lock itself.
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert f"another run is writing here: pid {holder.pid} on host" in str(refused.value)
    assert "run.toml" in str(refused.value)
    assert "secret" not in str(refused.value)
    with Dataset(str(tmp_path)).writer_lock():
        owner = Owner.parse((tmp_path / ".lock").read_text())
        assert owner is not None
        assert owner.pid == os.getpid()
    assert (tmp_path / ".lock").read_text() == ""


def test_lock_file_without_owner_refuses(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    with dataset.writer_lock():
        (tmp_path / ".lock").write_text("not an owner")
        with pytest.raises(DatasetError, match="writing here; wait"), dataset.writer_lock():
            pass


def test_live_lease_is_refused(fs: Any, root: str, clock: Clock) -> None:
    first = HeldLease.acquire(fs, root, clock)
    clock.now += EXPIRY_SECONDS - 1
    with pytest.raises(DatasetError, match=rf"pid {os.getpid()} .* heartbeat was 59 s ago"):
        HeldLease.acquire(fs, root, clock)
    first.renew()
    clock.now += EXPIRY_SECONDS - 1
    with pytest.raises(DatasetError, match="another run is writing here"):
        HeldLease.acquire(fs, root, clock)
    first.release()
    HeldLease.acquire(fs, root, clock)


def test_expired_lease_is_taken_over(fs: Any, root: str, clock: Clock) -> None:
    first = HeldLease.acquire(fs, root, clock)
    clock.now += EXPIRY_SECONDS
    second = HeldLease.acquire(fs, root, clock)
    with pytest.raises(LeaseLostError, match="has lost its lease to pid"):
        first.check()
    with pytest.raises(LeaseLostError):
        first.renew()
    # Neither changes the lease of the new owner.
    first.release()
    second.check()
    second.renew()
    assert fs.ls(root, detail=False) == [f"{root}/.lease-{second.ticket.number:08d}.json"]


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 1.0)


@pytest.mark.usefixtures("short_intervals")
def test_dead_future_lease_expires(fs: Any, root: str, clock: Clock) -> None:
    """The clock of the owner, which is dead, was a day ahead."""
    clock.now = time.time() + 86_400
    dead = HeldLease.acquire(fs, root, clock)
    alive = HeldLease.acquire(fs, root)
    assert alive.ticket.number == dead.ticket.number + 1


@pytest.mark.usefixtures("short_intervals")
def test_live_future_lease_is_refused(fs: Any, root: str, clock: Clock) -> None:
    lease = HeldLease.acquire(fs, root, clock)
    lease.clock = lambda: time.time() + 86_400
    lease.timer = time.monotonic
    lease.renew()
    with renewing(lease), pytest.raises(DatasetError, match="another run is writing here"):
        HeldLease.acquire(fs, root)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_set_clock_loses_no_lease(
    jump: float, fs: Any, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldLease.acquire(fs, root)
    watched = WatchedLease.of(fs, root, held.ticket)
    watched.check()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    held.clock = time.time
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", -1.0)  # each check reads the lease
    held.check()
    watched.check()


def test_late_lease_is_renewed(fs: Any, root: str, clock: Clock) -> None:
    first = HeldLease.acquire(fs, root, clock)
    # The process was suspended, and no other run has started meanwhile.
    clock.now += EXPIRY_SECONDS + 1
    first.check()
    with pytest.raises(DatasetError, match="another run is writing here"):
        HeldLease.acquire(fs, root, clock)


def test_stale_listing_takes_nothing(
    fs: Any, root: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs see the same expired lease; one of them creates the next object first."""
    expired = HeldLease.acquire(fs, root, clock)
    clock.now += EXPIRY_SECONDS
    newest = expired.objects.newest()
    winner = HeldLease.acquire(fs, root, clock)
    results = [newest]

    def first_stale(objects: Any) -> Any:
        return results.pop() if results else original(objects)

    original = lease_module._LeaseObjects.newest
    monkeypatch.setattr(lease_module._LeaseObjects, "newest", first_stale)
    with pytest.raises(DatasetError, match="another run is writing here"):
        HeldLease.acquire(fs, root, clock)
    winner.renew()


def test_worker_follows_its_coordinator(fs: Any, root: str, clock: Clock) -> None:
    held = HeldLease.acquire(fs, root, clock)
    watched = WatchedLease.of(fs, root, held.ticket)
    watched.clock = clock
    watched.check()
    clock.now += EXPIRY_SECONDS
    with pytest.raises(LeaseLostError, match="has expired"):
        watched.check()
    held.renew()
    watched.check()
    clock.now += EXPIRY_SECONDS
    HeldLease.acquire(fs, root, clock)
    with pytest.raises(LeaseLostError, match="has lost its lease"):
        watched.check()


def test_unreachable_bucket_ends_lease(
    fs: Any, root: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = HeldLease.acquire(fs, root, clock)

    def fail(objects: Any) -> Any:
        raise OSError("unreachable")

    monkeypatch.setattr(lease_module._LeaseObjects, "newest", fail)
    clock.now += EXPIRY_SECONDS / 2
    lease.check()
    clock.now += EXPIRY_SECONDS / 2
    with pytest.raises(LeaseLostError, match="cannot be renewed: unreachable"):
        lease.check()


def test_lost_lease_writes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    # The thread renews all the time, so it notices at once.
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.0)
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 0.0)
    uri = f"memory://{uuid.uuid4().hex}/dataset"
    first = Dataset(uri)
    second = Dataset(uri)
    with first.writer_lock():
        first.write_part(PROBLEMS, 0, [PROBLEM], "first")
        with second.writer_lock():
            with pytest.raises(LeaseLostError, match="has lost its lease"):
                first.write_part(PROBLEMS, 0, [PROBLEM], "late")
            with pytest.raises(LeaseLostError):
                first.remove_part(PROBLEMS, 0)
            second.write_part(PROBLEMS, 0, [PROBLEM], "second")
    footer = second.footer(PROBLEMS, 0)
    assert footer is not None
    assert footer.part_key == "second"


def test_owner_has_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["stepmark", "run", "run.toml", "--shards", "0/2", "--set", "engine.key=canary"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert Owner.current().command == "stepmark run run.toml"
