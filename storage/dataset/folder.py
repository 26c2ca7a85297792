"""A folder behind any fsspec URI: what is written there appears whole or not at all.

On this machine's disk a file is written under a draft name beside its place, flushed to the disk, and renamed. Elsewhere it is
written to a local temporary file and uploaded in one go, which an object store shows only when it is complete.
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

_DRAFT = ".tmp"


class Folder:
    """A folder by URI; paths are relative to it, with `/`. What the file system refuses is a `DatasetError`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.fs, root = _resolve(uri)
        self.root = root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's disk."""
        return isinstance(self.fs, LocalFileSystem)

    def location(self, path: str) -> str:
        """The full path, with its protocol unless it is local."""
        full = f"{self.root}/{path}"
        return full if self.is_local else str(self.fs.unstrip_protocol(full))

    def files(self, path: str = "") -> list[str]:
        """The names of the files in a subfolder, sorted; none when there is no such folder."""
        return self._names(path, "file")

    def folders(self, path: str = "") -> list[str]:
        """The names of the folders in a subfolder, sorted; none when there is no such folder."""
        return self._names(path, "directory")

    def has(self, path: str) -> bool:
        """Whether there is a file at `path` now."""
        self.fs.invalidate_cache()
        with self._refusals("find", path):
            return bool(self.fs.isfile(f"{self.root}/{path}"))

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """A file open for reading."""
        with self._refusals("read", path), self.fs.open(f"{self.root}/{path}", "rb") as file:
            yield cast(BinaryIO, file)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A file that stands at `path`, complete, once the block has ended; when the block raises, nothing has changed."""
        place = self._local_draft if self.is_local else self._upload
        with self._refusals("write", path), place(f"{self.root}/{path}") as file:
            yield file

    def remove(self, path: str) -> None:
        """Remove a file; it is no error when there is none."""
        with self._refusals("remove", path):
            try:
                self.fs.rm_file(f"{self.root}/{path}")
            except FileNotFoundError:
                return

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Nobody else holds this file while the block runs; a bucket has no such thing, nor has Windows."""
        if not self.is_local or sys.platform == "win32":
            yield
            return
        import fcntl

        with self._refusals("write", path):
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
            os.close(descriptor)

    def sweep(self, path: str = "") -> None:
        """Remove the drafts that killed runs left in a subfolder. A run that is writing there at this moment would lose its draft."""
        for name in self.files(path):
            if name.startswith(".") and name.endswith(_DRAFT):
                self.remove(f"{path}/{name}" if path else name)

    def _names(self, path: str, kind: str) -> list[str]:
        self.fs.invalidate_cache()
        with self._refusals("list", path):
            try:
                found: list[dict[str, Any]] = self.fs.ls(
                    f"{self.root}/{path}".rstrip("/") or "/", detail=True
                )
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(
            entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == kind
        )

    @contextmanager
    def _local_draft(self, full: str) -> Iterator[BinaryIO]:
        target = Path(full)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_DRAFT}")
        try:
            with draft.open("xb") as file:
                yield file
                file.flush()
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
    def _refusals(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error).partition("\n")[0] or type(error).__name__
            raise DatasetError(f"cannot {verb} {self.location(path)}: {reason}") from error


def _resolve(uri: str) -> tuple[Any, str]:
    # fsspec reads '::' as a chain of file systems and would drop part of a folder's name in silence.
    if not uri or "::" in uri or "\0" in uri:
        raise ConfigError(
            f"{uri!r} is no place for a dataset; name a folder or a URI such as s3://bucket/folder"
        )
    scheme = uri.partition("://")[0]
    try:
        fs, root = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise InstallError(f"{scheme}:// needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{uri} is no place for a dataset: {error}") from error
    return fs, str(root)
