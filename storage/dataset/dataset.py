"""A dataset: tables as Parquet parts in a folder or a bucket; every part is complete or absent.

    DATASET/problems/part-00000.parquet
            traces/part-00000.parquet
            rollouts/<method>/part-00000.parquet
            critiques/<method>/part-00000.parquet
            discovered/<method>/part-00000.parquet
            annotations/<method>/part-00000.parquet
            labels/part-00000.parquet
            rejected/part-00000.parquet
            run.toml                 the run file that made the dataset
            label.toml               the run file of a later `stepmark label`

The footer of a part contains its part key: a digest of everything that could change its content. A
dataset has at most one writer at a time and any number of readers. Memory is bounded by one row
group (64 MiB), for datasets of any size.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa

from stepmark.errors import DatasetError
from storage.dataset.folder import Folder
from storage.dataset.parts import Footer, read, read_footer, write
from storage.dataset.rows import to_record, to_row
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import PER_METHOD, Table, is_method

__all__ = ["Dataset"]

Record = TypeVar("Record")

_RUN_FILE = "run.toml"
_LABEL_FILE = "label.toml"
# Only the names that `_path` writes: five digits, or more without a leading zero.
_PART = re.compile(r"part-(\d{5}|[1-9]\d{5,})\.parquet", re.ASCII)


@dataclass(frozen=True)
class Dataset:
    """A dataset at a URI: a local folder or any URI that fsspec opens (`s3://…`, `memory://…`)."""

    uri: str

    @cached_property
    def folder(self) -> Folder:
        """Return the folder of the dataset.

        Raises:
            ConfigError: The URI is invalid.
            InstallError: The URI's protocol needs a package that is not installed.
        """
        return Folder(self.uri)

    def exists(self) -> bool:
        """Check that there is a run file or a table.

        An empty folder is not a dataset, because a bucket cannot contain an empty folder.
        """
        return self.folder.has(_RUN_FILE) or not SCHEMAS.keys().isdisjoint(self.folder.folders())

    def require(self) -> None:
        """Check that the dataset exists.

        Raises:
            DatasetError: It does not.
        """
        if not self.exists():
            raise DatasetError(
                f"no dataset at {self.uri}; `stepmark run` or `stepmark import` makes one"
            )

    def check_writable(self) -> None:
        """Create the folder and check that a file can be written to it.

        Raises:
            DatasetError: It cannot.
        """
        with self.folder.writing(".writable") as file:
            file.write(b"")
        self.folder.remove(".writable")

    def writer_lock(self) -> AbstractContextManager[None]:
        """Acquire the writer lock; without effect if the dataset is not in a local folder.

        Raises:
            DatasetError: Another process holds the lock.
        """
        return self.folder.locked(".lock")

    def sweep(self) -> None:
        """Remove the incomplete files of killed runs, which only take up space.

        The caller must hold the writer lock.
        """
        self.folder.sweep()
        # Other folders of the user are not touched.
        for kind in SCHEMAS.keys() & set(self.folder.folders()):
            self.folder.sweep(kind)
            for name in self.folder.folders(kind):
                self.folder.sweep(f"{kind}/{name}")

    def write_part(
        self, table: Table[Record], shard: int, records: Iterable[Record], part_key: str
    ) -> int:
        """Write a part atomically, replacing the existing one; return the number of rows."""
        with self.folder.writing(_path(table, shard)) as file:
            return write(file, table.schema, map(to_row, records), part_key)

    def has_part(self, table: Table[Any], shard: int, part_key: str) -> bool:
        """Check that the shard has a complete part with this key; only the footer is read."""
        footer = self.footer(table, shard)
        return footer is not None and footer.part_key == part_key

    def footer(self, table: Table[Any], shard: int) -> Footer | None:
        """Return the footer of a part; None if the part is missing, truncated or not ours."""
        path = _path(table, shard)
        if not self.folder.has(path):
            return None
        with self.folder.reading(path) as file:
            return read_footer(file, table.schema)

    def shards(self, table: Table[Any]) -> tuple[int, ...]:
        """Return the shards that have a part, in ascending order.

        They include the shards of truncated parts, until `keep` removes these.
        """
        shards = []
        for name in self.folder.files(table.folder):
            match = _PART.fullmatch(name)
            if match:
                shards.append(int(match[1]))
        return tuple(sorted(shards))

    def read_part(self, table: Table[Record], shard: int) -> Iterator[Record]:
        """Yield the records of one part, with a few in memory at a time.

        Raises:
            DatasetError: The part is missing or damaged.
        """
        path = _path(table, shard)
        with self.folder.reading(path) as file:
            try:
                for row in read(file):
                    yield to_record(table.record, row)
            except (pa.ArrowException, OSError) as error:
                # An OSError of a remote folder can be a network error, which `reading` reports.
                if isinstance(error, OSError) and not self.folder.is_local:
                    raise
                raise DatasetError(
                    f"{self.folder.location(path)} is damaged: delete it and run again"
                ) from error

    def read(self, table: Table[Record]) -> Iterator[Record]:
        """Yield all records of a table, part by part."""
        for shard in self.shards(table):
            yield from self.read_part(table, shard)

    def count(self, table: Table[Any]) -> int:
        """Return the number of rows of a table; only footers are read."""
        rows = 0
        for shard in self.shards(table):
            footer = self.footer(table, shard)
            if footer is not None:
                rows += footer.rows
        return rows

    def keep(self, table: Table[Any], part_keys: Mapping[int, str]) -> frozenset[int]:
        """Remove every part that does not have the key expected for its shard.

        Call this before writing the first part of a table, so that a table never contains rows of
        two part keys.

        Args:
            table: The table.
            part_keys: The expected part key by shard. Parts of other shards are removed.

        Returns:
            The shards whose parts remain.
        """
        for shard in self.stale_shards(table, part_keys):
            self.folder.remove(_path(table, shard))
        return frozenset(self.shards(table))

    def stale_shards(self, table: Table[Any], part_keys: Mapping[int, str]) -> tuple[int, ...]:
        """Return the shards whose parts `keep` would remove."""
        stale = []
        for shard in self.shards(table):
            if shard not in part_keys or not self.has_part(table, shard, part_keys[shard]):
                stale.append(shard)
        return tuple(stale)

    def methods(self, kind: str) -> tuple[str, ...]:
        """Return the sorted names of the methods that have parts of a kind in `PER_METHOD`."""
        assert kind in PER_METHOD, kind
        methods = []
        for name in self.folder.folders(kind):
            files = self.folder.files(f"{kind}/{name}") if is_method(name) else []
            if any(map(_PART.fullmatch, files)):
                methods.append(name)
        return tuple(methods)

    def paths(self, table: Table[Any]) -> tuple[str, ...]:
        """Return the paths of a table's parts, relative to the dataset, in order of the shards."""
        return tuple(_path(table, shard) for shard in self.shards(table))

    def write_run_file(self, text: str, *, labels_only: bool = False) -> None:
        """Store the resolved run file of a run, or of a `stepmark label` with `labels_only`."""
        with self.folder.writing(_LABEL_FILE if labels_only else _RUN_FILE) as file:
            file.write(text.encode("utf-8"))
        # A full run makes the labels again, so an older label file no longer describes them.
        if not labels_only and self.folder.has(_LABEL_FILE):
            self.folder.remove(_LABEL_FILE)

    def read_run_files(self) -> Sequence[str]:
        """Return the run files that made the dataset, in order.

        Empty for an imported dataset that has not been labelled.
        """
        return [self._text(name) for name in (_RUN_FILE, _LABEL_FILE) if self.folder.has(name)]

    def _text(self, name: str) -> str:
        with self.folder.reading(name) as file:
            return file.read().decode("utf-8", "replace")


def _path(table: Table[Any], shard: int) -> str:
    return f"{table.folder}/part-{shard:05d}.parquet"
