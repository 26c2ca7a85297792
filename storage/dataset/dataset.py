"""A dataset: tables as Parquet parts in a folder or a bucket, each part whole or absent.

    DATASET/problems/part-00000.parquet
            traces/part-00000.parquet
            rollouts/<method>/part-00000.parquet
            critiques/<method>/part-00000.parquet
            discovered/<method>/part-00000.parquet
            annotations/<method>/part-00000.parquet
            labels/part-00000.parquet
            rejected/part-00000.parquet
            run.toml                 the run file that made it; label.toml: the one of a later `stepmark label`

A part's footer carries the fingerprint of everything that could change its content. One run at a time writes to a dataset; any number
may read. Memory stays bounded by one row group (64 MiB), whatever the dataset's size.
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

_RUN_FILE, _LABEL_FILE = "run.toml", "label.toml"
_PART = re.compile(r"part-(\d{5}|[1-9]\d{5,})\.parquet", re.ASCII)


@dataclass(frozen=True)
class Dataset:
    """A dataset by its URI: a local folder, or whatever fsspec opens (`s3://…`, `hf://…`, `memory://…`)."""

    uri: str

    @cached_property
    def folder(self) -> Folder:
        """The folder itself; `ConfigError` or `InstallError` when the URI cannot be one."""
        return Folder(self.uri)

    def exists(self) -> bool:
        """Whether there is a run file or a table. An empty folder is no dataset: a bucket has no such thing."""
        return self.folder.has(_RUN_FILE) or not SCHEMAS.keys().isdisjoint(self.folder.folders())

    def require(self) -> None:
        """`DatasetError` unless the dataset exists."""
        if not self.exists():
            raise DatasetError(
                f"no dataset at {self.uri}; `stepmark run` or `stepmark import` makes one"
            )

    def check_writable(self) -> None:
        """`DatasetError` unless a file can be written there; makes the folder."""
        with self.folder.writing(".writable") as file:
            file.write(b"")
        self.folder.remove(".writable")

    def alone(self) -> AbstractContextManager[None]:
        """Hold the dataset against other writers; `DatasetError` while another has it. Only a local folder can be held."""
        return self.folder.locked(".lock")

    def sweep(self) -> None:
        """Remove what killed runs left half written. Readers never see it; this gives the space back."""
        self.folder.sweep()
        for kind in SCHEMAS.keys() & set(self.folder.folders()):
            self.folder.sweep(kind)
            for name in self.folder.folders(kind):
                self.folder.sweep(f"{kind}/{name}")

    def write_part(
        self, table: Table[Record], shard: int, records: Iterable[Record], fingerprint: str
    ) -> int:
        """Write a part whole, in place of the one that stands there; returns the number of rows."""
        with self.folder.writing(_path(table, shard)) as file:
            return write(file, table.schema, map(to_row, records), fingerprint)

    def has_part(self, table: Table[Any], shard: int, fingerprint: str) -> bool:
        """Whether the part stands, whole, under this fingerprint; only its footer is read."""
        footer = self.footer(table, shard)
        return footer is not None and footer.fingerprint == fingerprint

    def footer(self, table: Table[Any], shard: int) -> Footer | None:
        """What a part says of itself; None when there is none, or it is torn or foreign."""
        path = _path(table, shard)
        if not self.folder.has(path):
            return None
        with self.folder.reading(path) as file:
            return read_footer(file, table.schema)

    def shards(self, table: Table[Any]) -> tuple[int, ...]:
        """The shards that have a part, in order. A torn part is among them until `keep` removes it."""
        names = (_PART.fullmatch(name) for name in self.folder.files(table.folder))
        return tuple(sorted(int(match[1]) for match in names if match))

    def read_part(self, table: Table[Record], shard: int) -> Iterator[Record]:
        """The records of one part, a few in memory at a time; `DatasetError` when it is missing or damaged."""
        path = _path(table, shard)
        with self.folder.reading(path) as file:
            try:
                for row in read(file):
                    yield to_record(table.record, row)
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and not self.folder.is_local:
                    raise  # a network that is down makes no part damaged
                raise DatasetError(
                    f"{self.folder.location(path)} is damaged: delete it and run again to make it anew"
                ) from error

    def read(self, table: Table[Record]) -> Iterator[Record]:
        """All records of a table, part by part."""
        for shard in self.shards(table):
            yield from self.read_part(table, shard)

    def count(self, table: Table[Any]) -> int:
        """The number of rows of a table, from its footers alone."""
        footers = (self.footer(table, shard) for shard in self.shards(table))
        return sum(footer.rows for footer in footers if footer is not None)

    def keep(self, table: Table[Any], wanted: Mapping[int, str]) -> frozenset[int]:
        """Remove every part but those that stand under the fingerprint wanted for their shard; returns the shards that stand.

        Called before a table's first part is written, so its rows of two fingerprints never mix.
        """
        strays = self.strays(table, wanted)
        for shard in strays:
            self.folder.remove(_path(table, shard))
        return frozenset(self.shards(table))

    def strays(self, table: Table[Any], wanted: Mapping[int, str]) -> tuple[int, ...]:
        """The shards whose part `keep` would remove."""
        return tuple(
            shard
            for shard in self.shards(table)
            if shard not in wanted or not self.has_part(table, shard, wanted[shard])
        )

    def methods(self, kind: str) -> tuple[str, ...]:
        """The methods that have parts in a table of theirs, one of `PER_METHOD`, sorted."""
        assert kind in PER_METHOD, kind
        found = (name for name in self.folder.folders(kind) if is_method(name))
        return tuple(
            name for name in found if any(map(_PART.fullmatch, self.folder.files(f"{kind}/{name}")))
        )

    def paths(self, table: Table[Any]) -> tuple[str, ...]:
        """The paths of a table's parts, relative to the dataset, in order."""
        return tuple(_path(table, shard) for shard in self.shards(table))

    def write_run_file(self, text: str, *, labels_only: bool = False) -> None:
        """Keep the resolved run file beside the tables: of a run that makes all of them, or of one that labels what is there."""
        with self.folder.writing(_LABEL_FILE if labels_only else _RUN_FILE) as file:
            file.write(text.encode("utf-8"))
        if not labels_only and self.folder.has(_LABEL_FILE):
            self.folder.remove(_LABEL_FILE)

    def read_run_files(self) -> Sequence[str]:
        """The run files that made the dataset, in order; none for an import that has not been labelled."""
        return [self._text(name) for name in (_RUN_FILE, _LABEL_FILE) if self.folder.has(name)]

    def _text(self, name: str) -> str:
        with self.folder.reading(name) as file:
            return file.read().decode("utf-8", "replace")


def _path(table: Table[Any], shard: int) -> str:
    return f"{table.folder}/part-{shard:05d}.parquet"
