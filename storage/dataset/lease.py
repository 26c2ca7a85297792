"""The writer lock of a dataset: at most one run writes to it, and the lock names its owner.

A local folder is locked by `flock` on the file `.lock`, which contains the owner. The kernel
releases the lock when every process that holds it has ended or was killed. Worker processes inherit
the lock, so that it is held until the last of them has ended.

A bucket has no such locks. The owner holds a lease: the object `.lease-NUMBER.json`, which it
renews every `RENEW_SECONDS`. A lease that was not renewed for `EXPIRY_SECONDS` is taken over: the
new owner creates the object with the next number. Creation is a conditional PUT, of which the store
lets one succeed, in S3 (`s3fs`), Google Cloud Storage (`gcsfs`), Azure (`adlfs`) and `memory://`.
Renewals need no condition, since nothing but the owner writes an object after its creation. The
owner has lost its lease when a higher number exists. It checks that before it writes or removes a
file, unless it has confirmed its lease within two renewals.

A process measures its own intervals with a clock that nobody sets. Only the age of the lease of
another process depends on the clocks of both. A lease from the future, which an owner whose clock
was wrong has left, is taken over when it was not renewed during `EXPIRY_SECONDS`.

What is not covered:

- The Hugging Face Hub (`hf://`), where every renewal would be a commit, and folders on Windows:
  `writer_lock` has no effect.
- Two owners whose clocks differ by more than 40 seconds.
- A process that is suspended for longer than `EXPIRY_SECONDS` between the check and the request
  that it precedes: that one request can replace a file of the new owner.
- File systems without conditional creation. Two runs that start within `SETTLE_SECONDS` compare
  their tokens: the last one to write the object owns the lease. A run whose write takes
  longer than that to become visible is not noticed before its next renewal.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from stepmark.errors import DatasetBusyError, DatasetError

__all__ = [
    "HeldLease",
    "Lease",
    "LeaseLostError",
    "Owner",
    "Ticket",
    "WatchedLease",
    "can_lease",
    "check_unlocked",
    "ensure_free",
    "is_locked",
    "local_lock",
    "renewing",
]

RENEW_SECONDS = 10.0
# Five renewals may fail or be late before another run takes the lease over.
EXPIRY_SECONDS = 60.0
# The time after which a write by another process is visible in file systems without conditions.
SETTLE_SECONDS = 2.0
ATOMIC_PROTOCOLS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
# File systems in which a renewal every few seconds is not possible.
UNLEASED_PROTOCOLS = frozenset({"hf"})
# Workers end within moments of their coordinator; until then they hold its lock.
ORPHANS_SECONDS = 10.0
POLL_SECONDS = 0.1
# The command of pages, which hold the lock for the moment in which they store labels of people.
VIEW_COMMAND = "stepmark view"
# Another run can remove an object between listing and reading it.
READ_ATTEMPTS = 5
# A lock file of an owner is a few hundred bytes.
MAX_OWNER_BYTES = 10_000
_LEASE = re.compile(r"\.lease-(\d{8})\.json", re.ASCII)

Clock = Callable[[], float]


def _elapsed() -> float:
    """Return seconds that count on while the machine is suspended, and when its clock is set."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeaseLostError(DatasetError):
    """Another run has taken the lease over, or the lease could not be renewed in time."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that holds a lock."""

    host: str
    pid: int
    since: float
    """When it acquired the lock, in seconds since the epoch."""
    command: str

    @classmethod
    def current(cls) -> Self:
        """Return this process as the owner from now on."""
        return cls(
            host=socket.gethostname(), pid=os.getpid(), since=time.time(), command=_command()
        )

    @classmethod
    def parse(cls, text: str | bytes) -> Self | None:
        """Return the owner that a lock file names; None if it names none."""
        try:
            values = json.loads(text)
            return cls(
                host=str(values["host"]),
                pid=int(values["pid"]),
                since=float(values["since"]),
                command=str(values["command"]),
            )
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def is_dead_here(self) -> bool:
        """Whether it was a process of this machine and has ended."""
        # Imported late: readers of a dataset need no lock.
        import psutil  # type: ignore[import-untyped]

        return self.host == socket.gethostname() and not psutil.pid_exists(self.pid)

    @property
    def is_brief(self) -> bool:
        """Whether it holds the lock for moments only."""
        return self.command == VIEW_COMMAND

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"pid {self.pid} on host {self.host} since {since} ({self.command})"


def _command() -> str:
    """Return the command of this process up to its first option: values can be secret."""
    arguments = ["stepmark"]
    for argument in sys.argv[1:]:
        if argument.startswith("-"):
            break
        arguments.append(argument)
    return " ".join(arguments)


@contextmanager
def local_lock(
    descriptor: int,
    location: str,
    *,
    is_shared: bool = False,
    shared_owner: Callable[[], Owner | None] = lambda: None,
) -> Iterator[None]:
    """Hold a lock on an open local file, and close it when the block ends.

    Args:
        descriptor: The file, open for reading and writing. It will contain the owner, unless the
            lock is shared.
        location: The locked folder, for messages.
        is_shared: Whether other processes may share the lock.
        shared_owner: Returns a process that shares the lock, for the message that it is held.

    Raises:
        DatasetError: Another process holds the lock.
    """
    try:
        deadline = time.monotonic() + ORPHANS_SECONDS
        while not _try_lock(descriptor, is_shared=is_shared):
            owner = Owner.parse(os.pread(descriptor, MAX_OWNER_BYTES, 0)) or shared_owner()
            is_ending = owner is not None and (owner.is_brief or owner.is_dead_here)
            if not is_ending or time.monotonic() > deadline:
                raise DatasetBusyError(_refusal(location, owner))
            time.sleep(POLL_SECONDS)
        # A killed owner has left its name.
        _write_owner(descriptor, "" if is_shared else json.dumps(asdict(Owner.current())))
        yield
        _write_owner(descriptor, "")
    finally:
        # Closing the file releases the lock, also when the process is killed.
        os.close(descriptor)


def check_unlocked(path: Path, location: str) -> None:
    """Check that no process holds an exclusive lock on a local file.

    Raises:
        DatasetBusyError: A process holds it.
    """
    if is_locked(path):
        raise DatasetBusyError(_refusal(location, Owner.parse(path.read_bytes())))


def is_locked(path: Path) -> bool:
    """Return whether a process holds an exclusive lock on a local file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        # Shared, so that two processes can check a file at the same moment.
        return not _try_lock(descriptor, is_shared=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, is_shared: bool = False) -> bool:
    # Windows does not have this module.
    import fcntl

    operation = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write_owner(descriptor: int, text: str) -> None:
    # The lock holds without the name of its owner, for instance on a full disk.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("utf-8"), 0)


def _refusal(location: str, owner: Owner | None) -> str:
    message = f"{location}: another run is writing here"
    if owner is not None:
        message += f": {owner}"
    return f"{message}; wait until it has ended"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What identifies a lease, for the workers of its owner."""

    number: int
    token: str
    """Random; tells apart two owners that created the same object."""
    root: str = ""
    """The folder of the lease objects; "" if it is that of the dataset."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """The content of a lease object."""

    token: str
    owner: Owner
    renewed: float
    """The time of the last renewal by the owner's clock, in seconds since the epoch."""
    released: bool = False

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode("utf-8")


@dataclass(frozen=True)
class _LeaseObjects:
    """The lease objects of a bucket."""

    fs: Any
    root: str

    def newest(self) -> tuple[int, _State] | None:
        """Return the number and content of the newest lease; None if there is none."""
        for _ in range(READ_ATTEMPTS):
            numbers = self.numbers()
            if not numbers:
                return None
            with contextlib.suppress(FileNotFoundError):
                return numbers[-1], _parse(self.fs.cat_file(self.path(numbers[-1])))
        raise OSError(f"{self.root}: lease objects are removed while they are read")

    def numbers(self) -> list[int]:
        """Return the numbers of all lease objects in ascending order."""
        self.fs.invalidate_cache()
        try:
            names = self.fs.ls(self.root, detail=False)
        except FileNotFoundError:
            return []
        numbers = []
        for name in names:
            match = _LEASE.fullmatch(str(name).rpartition("/")[2])
            if match:
                numbers.append(int(match[1]))
        return sorted(numbers)

    def create(self, number: int, state: _State) -> bool:
        """Create the object of a lease, and return whether no other process has created it."""
        self.fs.makedirs(self.root, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.fs.pipe_file(self.path(number), state.to_json(), mode="create")
        if ATOMIC_PROTOCOLS.isdisjoint(_protocols(self.fs)):
            time.sleep(SETTLE_SECONDS)
        newest = self.newest()
        return newest is not None and newest[0] == number and newest[1].token == state.token

    def write(self, number: int, state: _State) -> None:
        """Replace the object of a lease; only its owner may do so."""
        self.fs.pipe_file(self.path(number), state.to_json())

    def remove_before(self, number: int) -> None:
        """Remove the objects of earlier leases."""
        for earlier in self.numbers():
            if earlier < number:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self.path(earlier))

    def path(self, number: int) -> str:
        """Return the path of a lease object."""
        return f"{self.root}/.lease-{number:08d}.json"

    @property
    def location(self) -> str:
        """The folder with its protocol, for messages."""
        return str(self.fs.unstrip_protocol(self.root))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _parse(content: bytes) -> _State:
    try:
        values = json.loads(content)
        return _State(**{**values, "owner": Owner(**values["owner"])})
    except (ValueError, TypeError, KeyError):
        # Not written by Stepmark: treated as a lease that expired long ago.
        unknown = Owner(host="?", pid=0, since=0.0, command="?")
        return _State(token="", owner=unknown, renewed=0.0)


def can_lease(fs: Any) -> bool:
    """Return whether a lease on a folder of this file system is possible."""
    return UNLEASED_PROTOCOLS.isdisjoint(_protocols(fs))


def ensure_free(fs: Any, root: str, clock: Clock = time.time) -> None:
    """Check that no process holds the lease on a folder, and take it over if it has expired.

    Raises:
        DatasetError: A process holds it.
        OSError: The file system failed.
    """
    objects = _LeaseObjects(fs, root)
    newest = objects.newest()
    if newest is None or newest[1].released:
        return
    number, state = newest
    if _has_expired(objects, state, clock):
        # Its owner, which can be suspended, finds that the lease is lost.
        successor = _State(
            token=uuid.uuid4().hex, owner=Owner.current(), renewed=clock(), released=True
        )
        objects.create(number + 1, successor)
        newest = objects.newest()
        if newest is None or newest[1].released:
            return
        state = newest[1]
    raise DatasetBusyError(_bucket_refusal(objects.location, state, clock()))


class Lease(Protocol):
    """A right to write that can be lost."""

    @property
    def ticket(self) -> Ticket:
        """What identifies the lease."""
        ...

    def check(self) -> None:
        """Check that the lease is still held.

        Raises:
            LeaseLostError: It is not, or the file system failed for too long.
            OSError: The file system failed.
        """
        ...


@dataclass(kw_only=True)
class HeldLease:
    """A lease of this process on a bucket."""

    objects: _LeaseObjects
    ticket: Ticket
    owner: Owner
    clock: Clock
    """The time for other processes."""
    timer: Clock
    """The time for intervals of this process."""
    _confirmed: float = 0.0
    _lost: LeaseLostError | None = None
    # The thread that renews and the threads that write use one lease.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def acquire(cls, fs: Any, root: str, clock: Clock | None = None) -> Self:
        """Acquire the lease on a folder, or take over an expired one.

        Args:
            fs: The file system.
            root: The folder.
            clock: Replaces the clocks of the system, in tests.

        Raises:
            DatasetError: Another process holds it.
            OSError: The file system failed.
        """
        wall_clock = clock or time.time
        timer = clock or _elapsed
        objects = _LeaseObjects(fs, root)
        newest = objects.newest()
        number = 1
        if newest is not None:
            number = newest[0] + 1
            state = newest[1]
            if not state.released and not _has_expired(objects, state, wall_clock):
                raise DatasetBusyError(_bucket_refusal(objects.location, state, wall_clock()))
        owner = Owner.current()
        ticket = Ticket(number=number, token=uuid.uuid4().hex, root=root)
        lease = cls(objects=objects, ticket=ticket, owner=owner, clock=wall_clock, timer=timer)
        if not objects.create(number, lease._state()):
            raise DatasetBusyError(_refusal(objects.location, None))
        lease._confirmed = timer()
        objects.remove_before(number)
        return lease

    def check(self) -> None:
        """Check that the lease is still held, and renew it if the renewals are late."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            is_late = self.timer() - self._confirmed > 2 * RENEW_SECONDS
        if not is_late:
            return
        try:
            self.renew()
        except OSError as error:
            # The time that is left covers the request that follows.
            if self.timer() - self._confirmed > EXPIRY_SECONDS - RENEW_SECONDS:
                raise LeaseLostError(
                    f"{self.objects.location}: the lease of this run cannot be renewed: {error}"
                ) from error

    def renew(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLostError: Another process has taken it over.
            OSError: The file system failed. The lease is still held until it expires.
        """
        with self._lock:
            if self._lost is not None:
                raise self._lost
            started = self.timer()
            try:
                _check_newest(self.objects, self.ticket)
            except LeaseLostError as error:
                self._lost = error
                raise
            self.objects.write(self.ticket.number, self._state())
            # The time before the requests, because another clock may have read it meanwhile.
            self._confirmed = started

    def release(self) -> None:
        """Release the lease, so that the next run need not wait until it expires."""
        with self._lock, contextlib.suppress(LeaseLostError):
            _check_newest(self.objects, self.ticket)
            # The object stays, so that numbers only ever grow.
            released = replace(self._state(), released=True)
            self.objects.write(self.ticket.number, released)

    def _state(self) -> _State:
        return _State(token=self.ticket.token, owner=self.owner, renewed=self.clock())


@dataclass(kw_only=True)
class WatchedLease:
    """The lease of a coordinator, as one of its workers sees it."""

    objects: _LeaseObjects
    ticket: Ticket
    clock: Clock = _elapsed
    _confirmed: float = 0.0
    """When the coordinator was last seen to hold its lease."""
    _renewed: float | None = None
    """The last renewal that was seen, by the coordinator's clock."""

    @classmethod
    def of(cls, fs: Any, root: str, ticket: Ticket) -> Self:
        """Return the lease that a ticket identifies."""
        return cls(objects=_LeaseObjects(fs, root), ticket=ticket)

    def check(self) -> None:
        """Check that the coordinator holds its lease, unless it did within two renewals."""
        now = self.clock()
        if now - self._confirmed <= 2 * RENEW_SECONDS:
            return
        state = _check_newest(self.objects, self.ticket)
        if state.renewed != self._renewed:
            self._renewed = state.renewed
            self._confirmed = now
        elif now - self._confirmed >= EXPIRY_SECONDS:
            raise LeaseLostError(f"{self.objects.location}: the lease of this run has expired")


def _has_expired(objects: _LeaseObjects, state: _State, clock: Clock) -> bool:
    """Return whether another process may take over a lease."""
    age = clock() - state.renewed
    # Clocks differ a little. A lease that is further in the future has no age.
    if age >= -EXPIRY_SECONDS:
        return age >= EXPIRY_SECONDS
    started = _elapsed()
    while _elapsed() - started < EXPIRY_SECONDS:
        time.sleep(min(RENEW_SECONDS, EXPIRY_SECONDS))
        newest = objects.newest()
        if newest is None or newest[1] != state:
            return False
    return True


def _check_newest(objects: _LeaseObjects, ticket: Ticket) -> _State:
    """Return the content of a lease object, and check that it is the newest one."""
    newest = objects.newest()
    if newest is None:
        raise LeaseLostError(f"{objects.location}: the lease of this run was deleted")
    number, state = newest
    if number != ticket.number or state.token != ticket.token:
        raise LeaseLostError(
            f"{objects.location}: this run has lost its lease to {state.owner};"
            " run again when that one has ended"
        )
    return state


def _bucket_refusal(location: str, state: _State, now: float) -> str:
    seconds = max(0.0, now - state.renewed)
    return (
        f"{location}: another run is writing here: {state.owner}; its last heartbeat was"
        f" {seconds:.0f} s ago, and its lease can be taken over after {EXPIRY_SECONDS:.0f} s"
    )


@contextmanager
def renewing(lease: HeldLease) -> Iterator[None]:
    """Renew the lease in a thread while the block runs, and then release it."""
    ended = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(lease, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        # Without a release the lease expires.
        with contextlib.suppress(OSError):
            lease.release()


def _renew_until(lease: HeldLease, ended: threading.Event) -> None:
    while not ended.wait(RENEW_SECONDS):
        try:
            lease.renew()
        except LeaseLostError:
            # The next `check` raises it.
            return
        except Exception:  # noqa: BLE001 - file systems raise other errors than OSError
            # The next renewal tries again: without this thread the lease would expire.
            continue
