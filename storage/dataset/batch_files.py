"""The records of batches at providers, one small file each, in the folder `batches` of a dataset.

What they contain is up to the engines. A record that is lost costs the answers of its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stepmark.errors import DatasetError
from storage.dataset.folder import Folder

__all__ = ["BATCHES", "BatchFiles"]

BATCHES = "batches"
SUFFIX = ".json"


@dataclass(frozen=True)
class BatchFiles:
    """The records in a dataset's folder, each of which is complete or absent."""

    folder: Folder

    def names(self) -> Sequence[str]:
        """Return the names of all records."""
        names: list[str] = []
        for file in self.folder.files(BATCHES):
            if file.endswith(SUFFIX) and not file.startswith("."):
                names.append(file.removesuffix(SUFFIX))
        return names

    def location(self, name: str) -> str:
        """Return the path of a record, for messages."""
        return self.folder.location(_path(name))

    def read(self, name: str) -> bytes | None:
        """Return the content of a record; None if another process has removed it."""
        try:
            with self.folder.reading(_path(name)) as file:
                return file.read()
        except DatasetError:
            if self.folder.has(_path(name)):
                raise
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a record, and replace an earlier one of the same name."""
        with self.folder.writing(_path(name)) as file:
            file.write(content)

    def remove(self, name: str) -> None:
        """Remove a record."""
        self.folder.remove(_path(name))


def _path(name: str) -> str:
    return f"{BATCHES}/{name}{SUFFIX}"
