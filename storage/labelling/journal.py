"""The journal of a rater: an append-only file with one line per entry.

An entry is on the disk before `append` returns. A last line that a crash has cut is ignored, and
the next entry takes its place, so that nothing before it or after it is lost. A last line that
lacks only its newline, as some editors write it, is an entry. Several processes can append to one
journal: each holds a lock on the file while it reads what is new and appends.
"""

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stepmark.errors import DatasetError
from storage.labelling.events import Event, Kind

__all__ = ["Journal"]

NEWLINE = b"\n"
READ_BYTES = 1 << 20
# More than the checksum, which ends a line.
TAIL_BYTES = 256


class Journal:
    """The entries of one rater, by trace. Other processes can append at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._events = dict[str, list[Event]]()
        self._pending = dict[str, Event]()
        self._finished = dict[str, Event]()
        self._damaged_lines = 0
        # The position after the last complete line that was read.
        self._end = 0
        # The end of the last complete line that was read, which is compared with the file.
        self._tail = b""
        self._event_ids = set[str]()
        # What follows the last newline and is no entry.
        self._torn = b""
        self._lacks_newline = False
        self._inode = 0

    def faults(self) -> Sequence[str]:
        """Return what is wrong with the lines that have been read: each as a line of text."""
        faults = list[str]()
        if self._damaged_lines:
            faults.append(f"lines that are no entries: {self._damaged_lines}")
        if self._torn:
            faults.append("the last line is incomplete: its entry was never confirmed")
        return faults

    def read(self) -> None:
        """Read the entries that were appended since the last call.

        Raises:
            DatasetError: The file cannot be read.
        """
        with self._lock, _file_errors("read", self.path):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT)
            except FileNotFoundError:
                return
            try:
                _check_file(descriptor)
                self._read_new(descriptor)
            finally:
                os.close(descriptor)

    def traces(self) -> Sequence[str]:
        """Return the ids of the traces with entries, in the order of their first ones."""
        with self._lock:
            return list(self._events)

    def events(self, trace_id: str) -> Sequence[Event]:
        """Return the entries of a trace that have been read, in order."""
        with self._lock:
            return list(self._events.get(trace_id, ()))

    def pending(self) -> Mapping[str, Event]:
        """Return the last FINISH of each trace whose annotation is not known to be stored."""
        with self._lock:
            return dict(self._pending)

    def finished(self) -> Mapping[str, Event]:
        """Return the last FINISH of each trace, whether its annotation is stored or not."""
        with self._lock:
            return dict(self._finished)

    @contextmanager
    def appending(self) -> Iterator["Appender"]:
        """Hold the lock on the file, with all entries read.

        Raises:
            DatasetError: The file cannot be read or written.
        """
        with self._lock, _file_errors("write", self.path):
            is_new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.parent.is_symlink():
                raise OSError("its folder is a link")
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _NO_FOLLOW | _NO_WAIT
            descriptor = os.open(self.path, flags, 0o644)
            try:
                _check_file(descriptor)
                _lock_file(descriptor)
                if is_new:
                    _sync_folder(self.path.parent)
                self._read_new(descriptor)
                yield Appender(self, descriptor)
            finally:
                # Closing the file releases the lock.
                os.close(descriptor)

    def append(self, *events: Event) -> None:
        """Append entries and flush them to the disk.

        Raises:
            DatasetError: The file cannot be written.
        """
        with self.appending() as appender:
            appender.append(*events)

    def _read_new(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        # Somebody has put back a copy, or edited the file.
        if status.st_ino != self._inode or not self._has_tail(descriptor):
            self._forget()
            self._inode = status.st_ino
        chunks = list[bytes]()
        position = self._end
        while chunk := os.pread(descriptor, READ_BYTES, position):
            chunks.append(chunk)
            position += len(chunk)
        content = b"".join(chunks)
        if self._lacks_newline and content.startswith(NEWLINE):
            content = content[1:]
            self._end += 1
            self._tail += NEWLINE
            self._lacks_newline = False
        *lines, torn = content.split(NEWLINE)
        for line in lines:
            self._end += len(line) + 1
            self._tail = line[-TAIL_BYTES:] + NEWLINE
            event = Event.parse(line)
            if event is None:
                self._damaged_lines += 1
            else:
                self._add(event)
        last_event = Event.parse(torn)
        if last_event is not None:
            self._end += len(torn)
            self._tail = torn[-TAIL_BYTES:]
            self._lacks_newline = True
            self._add(last_event)
            torn = b""
        self._torn = torn

    def _has_tail(self, descriptor: int) -> bool:
        """Return whether the last line that was read is still where it was."""
        length = len(self._tail)
        return os.pread(descriptor, length, self._end - length) == self._tail

    def _add(self, event: Event) -> None:
        # Copies that were joined have lines twice. A second UNDO would undo another entry.
        if event.event_id in self._event_ids:
            return
        self._event_ids.add(event.event_id)
        trace_id = event.trace_id
        if event.kind is Kind.STORED:
            pending = self._pending.get(trace_id)
            if pending is not None and pending.event_id == event.finish_id:
                del self._pending[trace_id]
            return
        self._events.setdefault(trace_id, []).append(event)
        if event.kind is Kind.FINISH:
            self._pending[trace_id] = event
            self._finished[trace_id] = event

    def _append(self, descriptor: int, events: Sequence[Event]) -> None:
        content = b"".join(event.to_line() for event in events)
        if self._torn and _is_cut(self._torn):
            # Nobody was told that this entry is saved, and nobody else is writing now.
            os.ftruncate(descriptor, self._end)
        elif self._torn or self._lacks_newline:
            content = NEWLINE + content
        # One write, so that a reader never sees half of it. On a full disk it can still be cut.
        written = os.write(descriptor, content)
        while written < len(content):
            written += os.write(descriptor, content[written:])
        os.fsync(descriptor)
        self._read_new(descriptor)


class Appender:
    """A journal whose file is locked: nobody else appends to it."""

    def __init__(self, journal: Journal, descriptor: int) -> None:
        self._journal = journal
        self._descriptor = descriptor

    def append(self, *events: Event) -> None:
        """Append entries and flush them to the disk."""
        if events:
            self._journal._append(self._descriptor, events)


# A link in a foreign dataset could lead to any file of the user. Windows has no such flag.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# A pipe in a foreign dataset would block the process.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def _is_cut(torn: bytes) -> bool:
    """Return whether a crash can have cut this line. Everything else stays in the file.

    Another program can have changed all ends of lines, for example.
    """
    return torn.startswith(b"{") and torn.isascii() and b"\r" not in torn


def _check_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError("it is no regular file")


def _lock_file(descriptor: int) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _sync_folder(path: Path) -> None:
    """Flush the name of a new file to the disk."""
    # Windows cannot open folders.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _file_errors(verb: str, path: Path) -> Iterator[None]:
    """Convert errors of the file system to `DatasetError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot {verb} the journal {path}: {reason}") from error
