"""A DuckDB file system, `dataset://`, that contains the files of one remote dataset."""

from datetime import UTC, datetime

from fsspec.implementations.dirfs import DirFileSystem

from storage.dataset.folder import Folder

__all__ = ["PROTOCOL", "Mount"]

PROTOCOL = "dataset"


class Mount(DirFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A remote folder that DuckDB reads through fsspec.

    DuckDB must not cache its files, because `modified` does not change when a file changes.
    """

    protocol = PROTOCOL

    def __init__(self, folder: Folder) -> None:
        super().__init__(path=folder.root, fs=folder.fs, skip_instance_cache=True)

    def modified(self, path: str) -> datetime:
        """Return a constant: DuckDB requires a time, and hf:// does not provide one."""
        return datetime.fromtimestamp(0, UTC)
