"""Shards whose tables have the same traces in the same order, row by row.

A run writes the annotations and labels of a shard in the order of its traces. Where all tables of a
shard still have that order, a query can put the rows side by side instead of joining them by id,
which takes most of the time and memory of the view `steps`. Parts can also differ: a run may be
unfinished, people annotate some traces only, and methods can add traces. The ids are therefore
compared, and all other shards are joined.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, Table
from storage.queries.limits import thread_count
from storage.queries.listing import TableParts

__all__ = ["NO_ALIGNMENT", "Alignment", "align", "is_current"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Shards in which some tables have the rows of the traces, in their order."""

    tables: Sequence[Table[Any]]
    """The labels or annotations that are aligned with the traces in each of the shards."""
    shards: Sequence[int]
    versions: Sequence[str] = ()
    """The state of the compared files, those of the traces included."""


NO_ALIGNMENT = Alignment(tables=(), shards=())


def align(dataset: Dataset, parts: TableParts) -> Alignment:
    """Return the shards and tables that are aligned with the traces; none for a bucket.

    The parts that are compared are read completely and their checksums are verified.

    Raises:
        DatasetError: A part is damaged.
    """
    # In a bucket every part would be downloaded as a whole, and then again by the query.
    if not dataset.folder.is_local:
        return NO_ALIGNMENT
    traces = _rows_by_shard(parts, TRACES)
    for shard in _shards_with_discovered_traces(parts):
        traces.pop(shard, None)
    shards_of = dict[Table[Any], set[int]]()
    for table in parts:
        if table == LABELS or table.kind == "annotations":
            shards = _shards_of_equal_size(traces, _rows_by_shard(parts, table))
            # A table that fits few shards, such as labels of people, is joined: it must not
            # prevent that the others are put side by side.
            if 2 * len(shards) > len(traces):
                shards_of[table] = shards
    if not shards_of:
        return NO_ALIGNMENT
    candidates = sorted(set.intersection(*shards_of.values()))
    # Before the files are compared: a file that is replaced meanwhile then has another version.
    versions = _versions(dataset, tuple(shards_of), candidates)

    def is_aligned(shard: int) -> bool:
        return _has_equal_traces(dataset, shard, tuple(shards_of))

    with ThreadPoolExecutor(thread_count()) as pool:
        results = list(pool.map(is_aligned, candidates))
    aligned = [shard for shard, result in zip(candidates, results, strict=True) if result]
    return Alignment(
        tables=tuple(shards_of),
        shards=aligned,
        versions=[versions[shard] for shard in aligned],
    )


def is_current(dataset: Dataset, alignment: Alignment) -> bool:
    """Return whether no file of an alignment was replaced since the files were compared."""
    current = _versions(dataset, alignment.tables, alignment.shards)
    return list(alignment.versions) == list(current.values())


def _versions(
    dataset: Dataset, tables: Sequence[Table[Any]], shards: Sequence[int]
) -> Mapping[int, str]:
    """Return the state of the files of each shard; see `Dataset.part_versions`."""
    if not shards:
        return {}
    by_table = [dataset.part_versions(table) for table in (TRACES, *tables)]
    versions = dict[int, str]()
    for shard in shards:
        versions[shard] = repr([part_versions.get(shard) for part_versions in by_table])
    return versions


def _rows_by_shard(parts: TableParts, table: Table[Any]) -> dict[int, int]:
    """Return the number of rows of the parts that have rows, and the columns of this version.

    All files of one scan have the same columns.
    """
    rows = dict[int, int]()
    for part in parts.get(table, ()):
        if part.footer.rows and part.footer.schema.equals(table.schema):
            rows[part.shard] = part.footer.rows
    return rows


def _shards_with_discovered_traces(parts: TableParts) -> set[int]:
    """Return the shards with more traces than those of the table `traces`."""
    shards = set[int]()
    for table in parts:
        if table.kind == "discovered":
            shards.update(part.shard for part in parts[table] if part.footer.rows)
    return shards


def _shards_of_equal_size(rows: Mapping[int, int], other_rows: Mapping[int, int]) -> set[int]:
    return {shard for shard in rows if other_rows.get(shard) == rows[shard]}


def _has_equal_traces(dataset: Dataset, shard: int, tables: Sequence[Table[Any]]) -> bool:
    """Return whether the tables have the ids of the traces in the same order, and as many steps."""
    expected = dataset.trace_index(TRACES, shard)
    for table in tables:
        index = dataset.trace_index(table, shard)
        if index.steps != expected.steps:
            return False
        # Equal ids are encoded differently where the row groups of a large part end elsewhere.
        if index.encoded_ids != expected.encoded_ids and not _has_equal_ids(dataset, shard, table):
            return False
    return True


def _has_equal_ids(dataset: Dataset, shard: int, table: Table[Any]) -> bool:
    return dataset.column(table, shard, "trace_id") == dataset.column(TRACES, shard, "trace_id")
