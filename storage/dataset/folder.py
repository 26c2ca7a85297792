"""A folder at any fsspec URI whose files are written atomically.

On the local disk a file is written under a temporary name in the same folder, flushed to the disk
and renamed. Elsewhere it is written to a local temporary file and uploaded in one request: an
object store shows an upload only when it is complete.
"""

import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stepmark.errors import ConfigError, DatasetError, InstallError
from stepmark.secrets import without_secrets
from storage.dataset.lease import (
    HeldLease,
    Lease,
    Ticket,
    WatchedLease,
    can_lease,
    local_lock,
    renewing,
)
from storage.dataset.slices import FOLDER as SLICES
from storage.dataset.slices import (
    Slice,
    acquire_slice_lease,
    local_slice_lock,
    slice_owner,
    take_over,
)
from storage.dataset.translated import Translated, reason_of

__all__ = ["Folder"]

_DRAFT_SUFFIX = ".tmp"
LOCAL_SCHEMES = frozenset({"file", "local", "memory"})
HUB_SCHEME = "hf://"
# Characters of an invalid URI that an error message quotes.
QUOTED_CHARACTERS = 200


class Folder:
    """A folder at a URI; paths are relative to it and separated by `/`.

    All methods raise `DatasetError` for an error of the file system.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, root = _resolve(uri)
        self.root = root.rstrip("/")
        if self.is_on_hub:
            from huggingface_hub.utils import (  # type: ignore[attr-defined]
                disable_progress_bars,
            )

            # Several bars for each part of a table would hide the progress of the run.
            disable_progress_bars()
        self.lease: Lease | None = None
        """The lease on a bucket that this process, or its coordinator, holds."""
        self.lock_descriptors: tuple[int, ...] = ()
        """The locked files of a local folder, which workers inherit."""

    @property
    def is_local(self) -> bool:
        """Check that the folder is on the local disk."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def is_on_hub(self) -> bool:
        """Check that the folder is on the Hugging Face Hub."""
        return self.uri.startswith(HUB_SCHEME)

    def location(self, path: str) -> str:
        """Return the full path, with its protocol unless the folder is local."""
        full = f"{self.root}/{path}"
        return full if self.is_local else str(self.fs.unstrip_protocol(full))

    def files(self, path: str = "") -> list[str]:
        """Return the sorted names of the files in a subfolder; empty if it does not exist."""
        return self._names(path, "file")

    def folders(self, path: str = "") -> list[str]:
        """Return the sorted names of the folders in a subfolder; empty if it does not exist."""
        return self._names(path, "directory")

    def versions(self, path: str) -> dict[str, str]:
        """Return the files in a subfolder, each with a text that changes when the file changes.

        On the disk it is the inode, size and time of the file. Elsewhere it is what the file system
        lists: a size and a time, a checksum or an ETag.
        """
        versions = dict[str, str]()
        if not self.is_local:
            for entry in self._entries(path):
                if entry["type"] == "file":
                    name = entry["name"].rpartition("/")[2]
                    versions[name] = repr(sorted(entry.items()))
            return versions
        for file in self._local_entries(path):
            # A file that was removed since it was listed has no version.
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                versions[file.name] = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
        return versions

    def has(self, path: str) -> bool:
        """Check that there is a file at `path` at this moment."""
        # Other processes write to the folder, so a cached listing can be outdated.
        self.fs.invalidate_cache()
        with self._dataset_errors("find", path):
            return bool(self.fs.isfile(f"{self.root}/{path}"))

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """Open a file for reading."""
        with self._dataset_errors("read", path), self.fs.open(f"{self.root}/{path}", "rb") as file:
            yield cast(BinaryIO, file)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """Open a file for writing and reading that appears at `path` when the block ends.

        If the block raises, the previous file, if any, remains unchanged.
        """
        open_draft = self._local_draft if self.is_local else self._upload
        with self._dataset_errors("write", path), open_draft(f"{self.root}/{path}") as file:
            yield file

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        with self._dataset_errors("remove", path):
            if self.lease is not None:
                self.lease.check()
            try:
                self.fs.rm_file(f"{self.root}/{path}")
            except FileNotFoundError:
                return

    @contextmanager
    def locked(self, path: str, part: Slice | None = None) -> Iterator[None]:
        """Hold the writer lock of the folder while the block runs; see `lease` and `slices`.

        Without effect in a local folder on Windows and on the Hugging Face Hub, which have no such
        locks. While the block runs in a bucket, no file is written or removed once the lease is
        lost.

        Args:
            path: The lock file of a local folder.
            part: The slice whose shards are written; None for all shards.

        Raises:
            DatasetError: Another process holds the lock.
        """
        if not self.is_local and can_lease(self.fs):
            with self._leased(path, part):
                yield
        elif not self.is_local or sys.platform == "win32":
            yield
        else:
            with self._locally_locked(path, part) as descriptors:
                self.lock_descriptors = descriptors
                try:
                    yield
                finally:
                    self.lock_descriptors = ()

    @contextmanager
    def _leased(self, path: str, part: Slice | None) -> Iterator[None]:
        with self._dataset_errors("write", path):
            if part is None:
                lease = HeldLease.acquire(self.fs, self.root)
            else:
                lease = acquire_slice_lease(self.fs, self.root, part)
        self.lease = lease
        try:
            with renewing(lease):
                if part is None:
                    with self._dataset_errors("write", path):
                        take_over(self.fs, self.root)
                yield
        finally:
            self.lease = None

    @contextmanager
    def _locally_locked(self, path: str, part: Slice | None) -> Iterator[tuple[int, ...]]:
        root = Path(self.root)
        with self._dataset_errors("write", path):
            root.mkdir(parents=True, exist_ok=True)
            if part is not None:
                (root / SLICES).mkdir(exist_ok=True)
            descriptor = os.open(root / path, os.O_RDWR | os.O_CREAT)
        if part is not None:
            with local_slice_lock(root, part, descriptor) as descriptors:
                yield descriptors
            return
        with local_lock(descriptor, self.root, shared_owner=lambda: slice_owner(root)):
            yield (descriptor,)

    def watch_lease(self, ticket: Ticket) -> None:
        """Write only while the coordinator of this process holds the lease with this ticket."""
        self.lease = WatchedLease.of(self.fs, ticket.root or self.root, ticket)

    def sweep(self, path: str = "") -> None:
        """Remove the temporary files that killed runs left in a subfolder.

        The caller must hold the lock: a concurrent writer would lose its temporary file.
        """
        for name in self.files(path):
            if name.startswith(".") and name.endswith(_DRAFT_SUFFIX):
                self.remove(f"{path}/{name}" if path else name)

    def _names(self, path: str, entry_type: str) -> list[str]:
        if self.is_local and entry_type == "file":
            return self._local_files(path)
        names = []
        for entry in self._entries(path):
            if entry["type"] == entry_type:
                names.append(entry["name"].rstrip("/").rpartition("/")[2])
        return sorted(names)

    def _entries(self, path: str) -> list[dict[str, Any]]:
        """Return what the file system knows of the files and folders in a subfolder."""
        self.fs.invalidate_cache()
        with self._dataset_errors("list", path):
            try:
                entries: list[dict[str, Any]] = self.fs.ls(
                    f"{self.root}/{path}".rstrip("/") or "/", detail=True
                )
            except (FileNotFoundError, NotADirectoryError):
                return []
        return entries

    def _local_files(self, path: str) -> list[str]:
        return [entry.name for entry in self._local_entries(path)]

    def _local_entries(self, path: str) -> list[os.DirEntry[str]]:
        """Return the files in a subfolder of the local disk, sorted by name."""
        # fsspec reads the properties of each file, which takes 20 times as long. Each shard of the
        # store of completions lists the files of all shards.
        with self._dataset_errors("list", path):
            try:
                with os.scandir(Path(self.root, path)) as entries:
                    files = [entry for entry in entries if entry.is_file()]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(files, key=lambda entry: entry.name)

    def entries_without_content(self, path: str) -> list[str]:
        """Return the sorted names of what is no file in a subfolder of the local disk.

        These are folders, links to nothing, sockets; a bucket has none of them.
        """
        if not self.is_local:
            return []
        names = []
        with self._dataset_errors("list", path):
            try:
                with os.scandir(Path(self.root, path)) as entries:
                    for entry in entries:
                        if not entry.is_file():
                            names.append(entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(names)

    @contextmanager
    def _local_draft(self, full: str) -> Iterator[BinaryIO]:
        target = Path(full)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_DRAFT_SUFFIX}")
        try:
            with draft.open("x+b") as file:
                yield file
                file.flush()
                # Otherwise a power failure after the rename could leave an empty file.
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _upload(self, full: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryDirectory(prefix="stepmark-") as scratch:
            draft = Path(scratch, "part")
            with draft.open("x+b") as file:
                yield file
            if self.lease is not None:
                self.lease.check()
            self.fs.makedirs(full.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(draft), full)

    @contextmanager
    def _dataset_errors(self, verb: str, path: str) -> Iterator[None]:
        """Convert errors of the file system to `DatasetError`."""
        try:
            yield
        except OSError as error:
            reason = reason_of(error)
            # The client of the Hub only quotes the path.
            if verb == "write" and self.is_on_hub and isinstance(error, FileNotFoundError):
                reason = "there is no such bucket or repository, or HF_TOKEN may not see it"
            raise DatasetError(f"cannot {verb} {self.location(path)}: {reason}") from error


def _resolve(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI and the path in it."""
    reason = _why_unusable(uri)
    if reason:
        raise ConfigError(
            f"{uri[:QUOTED_CHARACTERS]!a} is not a location for a dataset: {reason};"
            " name a folder or a URI such as s3://bucket/folder"
        )
    scheme = uri.partition("://")[0]
    try:
        fs, root = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise InstallError(f"{scheme}:// needs a package that is not installed: {error}") from error
    # The constructors of file systems raise any type of error for a URI that they cannot use.
    except Exception as error:
        raise ConfigError(
            f"{uri[:QUOTED_CHARACTERS]} is not a location for a dataset: {reason_of(error)}"
        ) from error
    return (fs if isinstance(fs, LocalFileSystem) else Translated(fs)), str(root)


def _why_unusable(uri: str) -> str:
    """Return why a URI cannot be the location of a dataset, "" if it can."""
    # Line breaks, control characters, those that change the direction of text, and surrogates.
    if not uri.isprintable():
        return "it has characters that cannot be printed"
    scheme, separator, rest = uri.rpartition("://")
    if not rest.strip("/ ") or (separator and not scheme):
        return "it has no name"
    # fsspec reads '::' as a chain of file systems and would ignore a part of the folder's name.
    if "::" in uri:
        return "it is a chain"
    # Locations are printed and stored. Buckets take credentials from the environment.
    is_remote = separator and scheme not in LOCAL_SCHEMES
    if is_remote and without_secrets(uri) != uri:
        return "it contains a password or key, which belongs in the environment"
    return ""
