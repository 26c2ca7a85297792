"""A dataset: tables as Parquet parts in a folder or a bucket; every part is complete or absent.

    DATASET/problems/part-00000.parquet
            traces/part-00000.parquet
            rollouts/<method>/part-00000.parquet
            critiques/<method>/part-00000.parquet
            discovered/<method>/part-00000.parquet
            annotations/<method>/part-00000.parquet
            labels/part-00000.parquet
            rejected/part-00000.parquet
            batches/<name>.json      batches of requests at providers; see `batch_files`
            run.toml                 the run file that made the dataset
            label.toml               the run file of a later `stepmark label`

The footer of a part contains its part key: a digest of everything that could change its content. A
dataset has at most one writer at a time and any number of readers. Memory is bounded by one row
group (64 MiB), for datasets of any size.

No record is read from a part before its checksums are verified, once for each content on the disk.
A part in a bucket is copied to a temporary file first, in one request.
"""

import dataclasses
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast

import pyarrow as pa

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.batch_files import BATCHES
from storage.dataset.folder import Folder
from storage.dataset.migrations import FORMAT, readable_columns
from storage.dataset.parts import (
    Footer,
    TraceIndex,
    has_intact_data,
    read,
    read_arrow_columns,
    read_columns,
    read_footer,
    read_matching,
    read_trace_index,
    write,
)
from storage.dataset.rows import InvalidRowError, to_record, to_row
from storage.dataset.schemas import SCHEMAS
from storage.dataset.slices import Slice
from storage.dataset.tables import (
    PER_METHOD,
    SINGLE_TABLES,
    Table,
    annotations,
    critiques,
    discovered,
    is_made_by_people,
    is_method,
    rollouts,
)

__all__ = ["LABEL_FILE", "RUN_FILE", "DamagedPartError", "Dataset"]

Record = TypeVar("Record")
Value = TypeVar("Value")

RUN_FILE = "run.toml"
LABEL_FILE = "label.toml"
SETTLED_NS = 2_000_000_000
# Only the names that `_path` writes: five digits, or more without a leading zero.
_PART = re.compile(r"part-(\d{5}|[1-9]\d{5,})\.parquet", re.ASCII)


class DamagedPartError(DatasetError):
    """A part that is truncated or damaged, or was not written by Stepmark."""


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
        return self.folder.has(RUN_FILE) or not SCHEMAS.keys().isdisjoint(self.folder.folders())

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
            ConfigError: It would be the current folder, in which the tables would lie among other
                files. A folder `problems` there also hides the package of that name.
            DatasetError: It cannot.
        """
        if self.folder.is_local and Path(self.folder.root) == Path.cwd() and not self.exists():
            raise ConfigError(f"{self.uri} is the current folder: name a folder for the dataset")
        with self.folder.writing(".writable") as file:
            file.write(b"")
        self.folder.remove(".writable")

    def writer_lock(self, part: Slice | None = None) -> AbstractContextManager[None]:
        """Acquire the writer lock: a lock file in a local folder, a lease in a bucket.

        Args:
            part: The slice whose shards are written; None for all shards.

        Raises:
            DatasetError: Another process holds the lock.
        """
        return self.folder.locked(".lock", part)

    def sweep(self) -> None:
        """Remove the incomplete files of killed runs, which only take up space.

        The caller must hold the writer lock.
        """
        self.folder.sweep()
        # Other folders of the user are not touched.
        self.folder.sweep(BATCHES)
        for kind in SCHEMAS.keys() & set(self.folder.folders()):
            self.folder.sweep(kind)
            for name in self.folder.folders(kind):
                self.folder.sweep(f"{kind}/{name}")

    def write_part(
        self,
        table: Table[Record],
        shard: int,
        records: Iterable[Record],
        part_key: str,
        *,
        tables: Mapping[str, Footer] = MappingProxyType({}),
        failed: int | Callable[[], int] = 0,
    ) -> Footer:
        """Write a part atomically, replacing the existing one.

        Args:
            table: The table.
            shard: The shard.
            records: The records, which can be computed while they are written.
            part_key: The part key.
            tables: The footers of the sibling parts that must exist for this part to be complete,
                by kind.
            failed: The number of records that failed for a reason that can pass, or a function
                that returns it, which is called after the last record.
        """
        with self.folder.writing(_path(table, shard)) as file:
            rows = map(to_row, records)
            return write(file, table.schema, rows, part_key, tables=tables, failed=failed)

    def has_part(self, table: Table[Any], shard: int, part_key: str) -> bool:
        """Check that the shard has a complete part with this key; only the footer is read."""
        footer = self.footer(table, shard)
        return footer is not None and footer.part_key == part_key

    def footer(self, table: Table[Any], shard: int) -> Footer | None:
        """Return the footer of a part; None if it is missing, damaged or foreign.

        Only the footer is verified: a part with damaged rows has a footer.

        Raises:
            DatasetError: A newer version of Stepmark wrote the part.
        """
        path = _path(table, shard)
        if self.folder.is_local:
            # Most footers are needed several times, and reading one takes 50 times as long.
            identity = self._identity(path)
            if identity is None:
                return None
            known = self._footers.get(identity)
            if known is not None:
                return known
        elif not self.folder.has(path):
            return None
        with self.folder.reading(path) as file:
            return self._footer(file, table, shard)

    def check_part(self, table: Table[Any], shard: int) -> Footer:
        """Verify the checksums of a part, unless it has not changed since they were verified.

        Raises:
            DatasetError: The part is missing or damaged, or Stepmark did not write it, or a newer
                version did.
        """
        with self._whole_part(table, shard) as file:
            return self._checked_footer(file, table, shard)

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

    def part_versions(self, table: Table[Any]) -> Mapping[int, str]:
        """Return the shards that have a part, each with a text that changes with the file."""
        versions = dict[int, str]()
        for name, version in self.folder.versions(table.folder).items():
            match = _PART.fullmatch(name)
            if match:
                versions[int(match[1])] = version
        return versions

    def read_part(self, table: Table[Record], shard: int) -> Iterator[Record]:
        """Yield the records of one part, with a few in memory at a time.

        Raises:
            DatasetError: The part is missing or damaged, or Stepmark did not write it, or a newer
                version did.
        """
        return self._records(table, shard, read)

    def matching_records(
        self, table: Table[Record], shard: int, column: str, values: Collection[str]
    ) -> Iterator[Record]:
        """Yield the records of one part that have one of some values in a text column.

        Raises:
            DatasetError: As for `read_part`.
        """
        return self._records(table, shard, partial(read_matching, column=column, values=values))

    def _records(
        self,
        table: Table[Record],
        shard: int,
        read_rows: Callable[[BinaryIO, str, Footer], Iterator[dict[str, Any]]],
    ) -> Iterator[Record]:
        with self._whole_part(table, shard) as file:
            footer = self._checked_footer(file, table, shard)
            missing_values = _missing_values(table, footer)
            try:
                for row in read_rows(file, table.kind, footer):
                    yield to_record(table.record, missing_values | row)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self.damage_error(table, shard) from error
            except InvalidRowError as error:
                raise self.damage_error(table, shard, f" ({error})") from error

    def column(self, table: Table[Any], shard: int, name: str) -> list[Any]:
        """Return the values of one column of a part, which exists in parts of every format.

        Raises:
            DatasetError: As for `read_part`.
        """
        return self.columns(table, shard, [name])[name]

    def columns(
        self, table: Table[Any], shard: int, names: Sequence[str]
    ) -> Mapping[str, list[Any]]:
        """Return the values of some columns of a part, as `column` does.

        Raises:
            DatasetError: As for `read_part`.
        """
        return self._read_checked(table, shard, partial(read_columns, names=names))

    def arrow_columns(self, table: Table[Any], shard: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a part as an Arrow table; see `parts.read_arrow_columns`.

        Raises:
            DatasetError: As for `read_part`.
        """

        def read_file(file: BinaryIO) -> pa.Table:
            footer = self._checked_footer(file, table, shard)
            return read_arrow_columns(file, table.kind, footer, names)

        return self._read_checked(table, shard, read_file)

    def trace_index(self, table: Table[Any], shard: int) -> TraceIndex:
        """Return which traces a part of traces, annotations or labels is about.

        Raises:
            DatasetError: As for `read_part`.
        """
        with self._whole_part(table, shard) as file:
            return read_trace_index(file, self._checked_footer(file, table, shard))

    def _read_checked(
        self, table: Table[Any], shard: int, read_file: Callable[[BinaryIO], Value]
    ) -> Value:
        with self._whole_part(table, shard) as file:
            self._checked_footer(file, table, shard)
            try:
                return read_file(file)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self.damage_error(table, shard) from error

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

        An import calls it for tables that cost neither tokens nor human work. A run replaces parts
        one by one instead, each when its successor is complete.

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

    def tables(self) -> Iterator[Table[Any]]:
        """Yield the single tables and the existing tables of the methods."""
        yield from SINGLE_TABLES
        for kind, table_of in (
            ("rollouts", rollouts),
            ("critiques", critiques),
            ("discovered", discovered),
            ("annotations", annotations),
        ):
            for method in self.methods(kind):
                yield table_of(method)

    def damage_error(self, table: Table[Any], shard: int, reason: str = "") -> DamagedPartError:
        """Return the error for a part that cannot be read."""
        location = self.folder.location(_path(table, shard))
        remedy = "delete it and run again"
        if is_made_by_people(table):
            remedy = "labels of people cannot be made again, replace it by a copy"
        return DamagedPartError(
            f"{location} is damaged{reason}: {remedy}; `stepmark verify` lists all damaged parts"
        )

    def remove_part(self, table: Table[Any], shard: int) -> None:
        """Remove a part, if it exists. The caller must hold the writer lock."""
        self.folder.remove(_path(table, shard))

    def path(self, table: Table[Any], shard: int) -> str:
        """Return the path of a part, relative to the dataset."""
        return _path(table, shard)

    def other_files(self, table: Table[Any]) -> tuple[str, ...]:
        """Return the paths of the files in a table's folder that are not parts.

        Hidden files, such as the drafts of a running writer, are left out.
        """
        paths = []
        for name in self.folder.files(table.folder):
            if not _PART.fullmatch(name) and not name.startswith("."):
                paths.append(f"{table.folder}/{name}")
        return tuple(paths)

    def paths(self, table: Table[Any]) -> tuple[str, ...]:
        """Return the paths of a table's parts, relative to the dataset, in order of the shards."""
        return tuple(_path(table, shard) for shard in self.shards(table))

    def write_run_file(self, text: str, *, labels_only: bool = False) -> None:
        """Store the resolved run file of a run, or of a `stepmark label` with `labels_only`."""
        with self.folder.writing(LABEL_FILE if labels_only else RUN_FILE) as file:
            file.write(text.encode("utf-8"))
        # A full run makes the labels again, so an older label file no longer describes them.
        if not labels_only and self.folder.has(LABEL_FILE):
            self.folder.remove(LABEL_FILE)

    def read_run_files(self) -> Sequence[str]:
        """Return the run files that made the dataset, in order.

        Empty for an imported dataset that has not been labelled.
        """
        return [self._text(name) for name in (RUN_FILE, LABEL_FILE) if self.folder.has(name)]

    def _text(self, name: str) -> str:
        with self.folder.reading(name) as file:
            return file.read().decode("utf-8", "replace")

    @contextmanager
    def _whole_part(self, table: Table[Any], shard: int) -> Iterator[BinaryIO]:
        """Open a part, or a copy of it on the disk if the dataset is in a bucket."""
        with self.folder.reading(_path(table, shard)) as file:
            if self.folder.is_local:
                yield file
                return
            with tempfile.TemporaryFile(prefix="stepmark-") as copy:
                shutil.copyfileobj(file, copy)
                yield cast(BinaryIO, copy)

    def _footer(self, file: BinaryIO, table: Table[Any], shard: int) -> Footer | None:
        """Return the footer of an open part; that of an unchanged file is read once."""
        identity = None
        if self.folder.is_local:
            status = os.fstat(file.fileno())
            if _is_settled(status):
                identity = _identity_of(status, _path(table, shard))
        if identity in self._footers:
            return self._footers[identity]
        footer = read_footer(file, table.kind)
        if footer is not None and footer.format > FORMAT:
            location = self.folder.location(_path(table, shard))
            raise DatasetError(
                f"{location} was written by a newer Stepmark (version {footer.version}):"
                " install it to read this dataset"
            )
        if footer is not None and identity is not None:
            if footer.schema.equals(table.schema):
                # One schema for all parts: thousands of them would take more than all the rest.
                footer = dataclasses.replace(footer, schema=table.schema)
            self._footers[identity] = footer
        return footer

    def _checked_footer(self, file: BinaryIO, table: Table[Any], shard: int) -> Footer:
        footer = self._footer(file, table, shard)
        if footer is None:
            raise self.damage_error(table, shard)
        identity = _identity_of(os.fstat(file.fileno()), _path(table, shard))
        if identity not in self._intact_files:
            if not has_intact_data(file, footer):
                raise self.damage_error(table, shard)
            self._intact_files.add(identity)
        return footer

    def _identity(self, path: str) -> "_FileIdentity | None":
        """Return the identity of a local file; None if there is none."""
        try:
            status = Path(self.folder.root, path).stat()
        except OSError:
            return None
        return _identity_of(status, path) if stat.S_ISREG(status.st_mode) else None

    @cached_property
    def _footers(self) -> "dict[_FileIdentity | None, Footer]":
        """Return the footers of the local parts that were read, by file."""
        return {}

    @cached_property
    def _intact_files(self) -> "set[_FileIdentity]":
        """Return the files whose checksums were right."""
        return set()


_FileIdentity: TypeAlias = tuple[str, int, int, int]
"""The path, inode, size and time of a file: other content has another identity."""


def _is_settled(status: os.stat_result) -> bool:
    """Return whether a file is old enough for its identity to change with its content.

    The clock of a file system ticks every few milliseconds at best, and every second or two at
    worst: within a tick, content can change in place and keep its time.
    """
    return time.time_ns() - status.st_mtime_ns > SETTLED_NS


def _identity_of(status: os.stat_result, path: str) -> _FileIdentity:
    return path, status.st_ino, status.st_size, status.st_mtime_ns


def _missing_values(table: Table[Any], footer: Footer) -> dict[str, Any]:
    """Return the values of the columns that an earlier version did not write.

    Columns for which the record has a default value are left out.
    """
    present = readable_columns(table.kind, footer.schema)
    assert present is not None, "`read_footer` returns no footer of another table"
    fields = {field.name: field for field in dataclasses.fields(table.record)}
    values: dict[str, Any] = {}
    for name in table.schema.names:
        if name in present:
            continue
        if name == "method":
            values[name] = table.method
        elif name in fields and not _has_default(fields[name]):
            values[name] = None
    return values


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _path(table: Table[Any], shard: int) -> str:
    return f"{table.folder}/part-{shard:05d}.parquet"
