"""A folder at any fsspec URI whose files are written atomically.

On the local disk a file is written under a temporary name in the same folder, flushed to the disk
and renamed. Elsewhere it is written to a local temporary file and uploaded in one request: an
object store shows an upload only when it is complete.
"""

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

__all__ = ["Folder"]

_DRAFT_SUFFIX = ".tmp"


class Folder:
    """A folder at a URI; paths are relative to it and separated by `/`.

    All methods raise `DatasetError` for an error of the file system.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, root = _resolve(uri)
        self.root = root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Check that the folder is on the local disk."""
        return isinstance(self.fs, LocalFileSystem)

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
        """Open a file that appears at `path` when the block ends.

        If the block raises, the previous file, if any, remains unchanged.
        """
        open_draft = self._local_draft if self.is_local else self._upload
        with self._dataset_errors("write", path), open_draft(f"{self.root}/{path}") as file:
            yield file

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        with self._dataset_errors("remove", path):
            try:
                self.fs.rm_file(f"{self.root}/{path}")
            except FileNotFoundError:
                return

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Hold an exclusive lock on a file while the block runs.

        Without effect in a bucket and on Windows, which have no such locks.

        Raises:
            DatasetError: Another process holds the lock.
        """
        if not self.is_local or sys.platform == "win32":
            yield
            return
        # Windows does not have this module.
        import fcntl

        with self._dataset_errors("write", path):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            descriptor = os.open(Path(self.root, path), os.O_WRONLY | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DatasetError(
                    f"{self.root}: another run is writing here; wait until it has ended"
                ) from error
            yield
        finally:
            # Closing the file releases the lock, also when the process is killed.
            os.close(descriptor)

    def sweep(self, path: str = "") -> None:
        """Remove the temporary files that killed runs left in a subfolder.

        The caller must hold the lock: a concurrent writer would lose its temporary file.
        """
        for name in self.files(path):
            if name.startswith(".") and name.endswith(_DRAFT_SUFFIX):
                self.remove(f"{path}/{name}" if path else name)

    def _names(self, path: str, entry_type: str) -> list[str]:
        self.fs.invalidate_cache()
        with self._dataset_errors("list", path):
            try:
                entries: list[dict[str, Any]] = self.fs.ls(
                    f"{self.root}/{path}".rstrip("/") or "/", detail=True
                )
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = []
        for entry in entries:
            if entry["type"] == entry_type:
                names.append(entry["name"].rstrip("/").rpartition("/")[2])
        return sorted(names)

    @contextmanager
    def _local_draft(self, full: str) -> Iterator[BinaryIO]:
        target = Path(full)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_DRAFT_SUFFIX}")
        try:
            with draft.open("xb") as file:
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
            with draft.open("xb") as file:
                yield file
            self.fs.makedirs(full.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(draft), full)

    @contextmanager
    def _dataset_errors(self, verb: str, path: str) -> Iterator[None]:
        """Convert errors of the file system to `DatasetError`."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error).partition("\n")[0] or type(error).__name__
            raise DatasetError(f"cannot {verb} {self.location(path)}: {reason}") from error


def _resolve(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI and the path in it."""
    # fsspec reads '::' as a chain of file systems and would ignore a part of the folder's name.
    if not uri or "::" in uri or "\0" in uri:
        raise ConfigError(
            f"{uri!r} is not a location for a dataset;"
            " name a folder or a URI such as s3://bucket/folder"
        )
    scheme = uri.partition("://")[0]
    try:
        fs, root = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise InstallError(f"{scheme}:// needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{uri} is not a location for a dataset: {error}") from error
    return fs, str(root)
