"""Slices: several processes write different shards; nothing else writes meanwhile."""

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from stepmark.errors import ConfigError, DatasetBusyError, DatasetError
from storage.dataset import lease as lease_module
from storage.dataset.dataset import Dataset
from storage.dataset.lease import LeaseLostError, Owner, WatchedLease
from storage.dataset.slices import Slice

Open = Callable[[], Dataset]


@pytest.fixture(params=["disk", "memory"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return a function that opens the dataset as another process would."""
    uri = str(tmp_path / "dataset")
    if request.param == "memory":
        uri = f"memory://{uuid.uuid4().hex}/dataset"
    return lambda: Dataset(uri)


@pytest.fixture
def held(reopened: Open) -> Iterator[ExitStack]:
    """Two slices of one division that are being written."""
    with ExitStack() as stack:
        for index in range(2):
            stack.enter_context(reopened().writer_lock(Slice(index, 3)))
        yield stack


@pytest.mark.parametrize("part", [None, Slice(0, 3), Slice(5, 6)], ids=["all", "same", "other"])
def test_slices_exclude_other_writers(held: ExitStack, reopened: Open, part: Slice | None) -> None:
    with pytest.raises(DatasetBusyError, match=r"another run is writing here: pid \d+ on host"):
        reopened().writer_lock(part).__enter__()
    with reopened().writer_lock(Slice(2, 3)):
        pass
    held.close()
    with reopened().writer_lock(part):
        pass


def test_whole_writer_excludes_slices(reopened: Open) -> None:
    with (
        reopened().writer_lock(),
        pytest.raises(DatasetError, match="another run is writing here: pid"),
        reopened().writer_lock(Slice(0, 2)),
    ):
        pass
    with reopened().writer_lock(Slice(0, 2)):
        pass


def test_slices_start_at_the_same_moment(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    with dataset.writer_lock(Slice(0, 4)):
        pass
    # The other slice checks the lock of an earlier division.
    with (tmp_path / ".slices" / "0-of-4.lock").open("r+b") as checked:
        fcntl.flock(checked, fcntl.LOCK_SH)
        with dataset.writer_lock(Slice(0, 2)):
            pass


def test_killed_slice_is_not_the_owner(tmp_path: Path) -> None:
    with Dataset(str(tmp_path)).writer_lock(Slice(1, 2)):
        # No process has a number as high as this.
        owner = replace(Owner.current(), pid=2**31 - 1)
        killed = tmp_path / ".slices" / "0-of-2.lock"
        killed.write_text(json.dumps(asdict(owner)), encoding="utf-8")
        with (
            pytest.raises(DatasetError, match=f"is writing here: pid {os.getpid()} "),
            Dataset(str(tmp_path)).writer_lock(),
        ):
            pass


@pytest.mark.parametrize("first", [None, Slice(0, 2)], ids=["whole", "slice"])
def test_suspended_writer_loses_its_lease(
    first: Slice | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"memory://{uuid.uuid4().hex}/dataset"
    # Nothing renews the lease, as in a process that is suspended.
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 1000.0)
    suspended = Dataset(uri)
    second = Slice(1, 2) if first is None else None
    with suspended.writer_lock(first):
        lease = suspended.folder.lease
        assert lease is not None
        monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 0.0)
        with Dataset(uri).writer_lock(second):
            monkeypatch.setattr(lease_module, "RENEW_SECONDS", -1.0)
            with pytest.raises(LeaseLostError, match="has lost its lease"):
                lease.check()


def test_workers_watch_lease_of_slice() -> None:
    uri = f"memory://{uuid.uuid4().hex}/dataset"
    coordinator = Dataset(uri)
    worker = Dataset(uri)
    with coordinator.writer_lock(Slice(1, 2)):
        assert coordinator.folder.lease is not None
        worker.folder.watch_lease(coordinator.folder.lease.ticket)
        assert isinstance(worker.folder.lease, WatchedLease)
        worker.folder.lease.check()


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/2/3", "a/b", "0/0", "0/1000000"])
def test_invalid_slices_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no slice of the shards"):
        Slice.parse(text)


def test_every_shard_is_in_one_slice() -> None:
    slices = [Slice.parse(f"{index}/3") for index in range(3)]
    for shard in range(10):
        assert sum(shard in part for part in slices) == 1
