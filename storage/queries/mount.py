"""A remote dataset as DuckDB sees it: a file system of its own, `dataset://`, with the dataset's files and nothing else."""

from datetime import UTC, datetime

from fsspec.implementations.dirfs import DirFileSystem

from storage.dataset.folder import Folder

__all__ = ["PROTOCOL", "Mount"]

PROTOCOL = "dataset"


class Mount(DirFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The folder, read through fsspec. DuckDB must not keep what it reads: `modified` cannot tell it that a file has changed."""

    protocol = PROTOCOL

    def __init__(self, folder: Folder) -> None:
        super().__init__(path=folder.root, fs=folder.fs, skip_instance_cache=True)

    def modified(self, path: str) -> datetime:
        """Always the same time: DuckDB asks for one, and hf:// has none to tell."""
        return datetime.fromtimestamp(0, UTC)
