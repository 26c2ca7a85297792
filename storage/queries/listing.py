"""The parts of a dataset as queries read them: listed once, with their footers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.completions.files import list_files, readable_files
from storage.dataset.dataset import Dataset
from storage.dataset.parts import Footer
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import Table
from storage.queries.mount import PROTOCOL

__all__ = ["Part", "TableParts", "completion_locations", "files_of", "list_parts"]

# A bucket answers each request after some 50 ms, and a dataset can have thousands of parts.
_REMOTE_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that a query can read."""

    shard: int
    footer: Footer
    location: str
    """The path on the disk, or in a `Mount`."""


TableParts = Mapping[Table[Any], Sequence[Part]]
"""The parts of every table of a dataset, in the order of the shards."""


def list_parts(dataset: Dataset, kinds: Set[str] = frozenset(SCHEMAS)) -> TableParts:
    """Return the parts of the tables of some kinds, and read their footers.

    All other tables are listed without parts: reading the footers takes longer than most queries.
    A writer can add and replace parts at any time, so one connection must list them only once.

    Raises:
        DatasetError: A part is damaged, or a newer version of Stepmark wrote it.
    """
    by_table: dict[Table[Any], list[Part]] = {table: [] for table in dataset.tables()}
    shards_to_read = list[tuple[Table[Any], int]]()
    for table in by_table:
        if table.kind in kinds:
            shards_to_read.extend((table, shard) for shard in dataset.shards(table))
    for table, part in _read_parts(dataset, shards_to_read):
        if part is not None:
            by_table[table].append(part)
    return by_table


def _read_parts(
    dataset: Dataset, shards: Sequence[tuple[Table[Any], int]]
) -> Iterator[tuple[Table[Any], Part | None]]:
    if dataset.folder.is_local:
        # Handing a footer to a thread takes as long as reading it.
        for table, shard in shards:
            yield table, _part(dataset, table, shard)
        return
    with ThreadPoolExecutor(_REMOTE_THREADS) as pool:
        parts = pool.map(lambda item: _part(dataset, *item), shards)
        for (table, _), part in zip(shards, parts, strict=True):
            yield table, part


def _part(dataset: Dataset, table: Table[Any], shard: int) -> Part | None:
    """Return a part; None if it was removed since it was listed."""
    path = dataset.path(table, shard)
    footer = dataset.footer(table, shard)
    if footer is None:
        if not dataset.folder.has(path):
            return None
        raise dataset.damage_error(table, shard)
    return Part(shard=shard, footer=footer, location=_location(dataset, path))


def completion_locations(dataset: Dataset) -> Sequence[str]:
    """Return the locations of the readable files of completions.

    Call it once for a connection: a run adds and removes files all the time.
    """
    return [_location(dataset, file.path) for file in readable_files(dataset.folder)]


def files_of(dataset: Dataset) -> frozenset[tuple[str, int]]:
    """Return the paths of all files that a query can read, with their last change on the disk.

    The time is 0 in a bucket and for a file that was removed meanwhile.
    """
    paths = [file.path for file in list_files(dataset.folder)]
    for table in dataset.tables():
        paths.extend(dataset.paths(table))
    files = []
    for path in paths:
        changed = 0
        if dataset.folder.is_local:
            with contextlib.suppress(OSError):
                changed = Path(dataset.folder.root, path).stat().st_mtime_ns
        files.append((path, changed))
    return frozenset(files)


def _location(dataset: Dataset, path: str) -> str:
    folder = dataset.folder
    root = folder.root if folder.is_local else f"{PROTOCOL}:/"
    return f"{root}/{path}"
