"""One row per trace, in memory: what pages list, filter and count without reading any text.

Only shards whose files have changed are read again, so a reader can follow a run.
"""

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from stepmark.errors import DatasetError
from stepmark.identity import digest
from storage.dataset.dataset import Dataset
from storage.dataset.tables import Table
from storage.queries.limits import thread_count
from storage.queries.shard_summary import EMPTY, KINDS, MethodTotals, ShardSummary, read_shard
from storage.queries.summary_cache import load_shards, store_shards

__all__ = ["SummaryReader", "TraceSummary"]

# A listing of the files is used again for some time. It takes milliseconds for a hundred shards,
# and a second for thousands of them or in a bucket.
LISTING_SECONDS = 1.0
MAX_LISTING_SHARE = 0.05
# What the queries over a summary hold in memory. They group and sort narrow columns.
MEMORY_MIB = 256


@dataclass(frozen=True, kw_only=True)
class TraceSummary:
    """The traces of a dataset at one moment.

    The columns are shard, trace_id, problem_id, found_by, outcome, model, finish_reason,
    generated_tokens, steps (their number), question (its beginning), domain, source, the label's
    first_error, kept, confidence and reason_kind (the reason without numbers and ids), and for each
    method `<method>_annotated`, `<method>_failed`, `<method>_first_error` and
    `<method>_confidence`. What a trace does not have is NULL.
    """

    version: str
    """A digest that changes when a part changes."""
    methods: Sequence[str]
    """The methods with annotations, sorted."""
    totals: Mapping[str, MethodTotals]
    """What each method cost, over all its annotations."""
    table: pa.Table

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[tuple[Any, ...]]:
        """Return the result of a query over the view `summary`.

        Args:
            sql: The query, which contains no text of a user.
            parameters: The values of its parameters `?`.
        """
        with self._connection.cursor() as cursor:
            cursor.register("summary", self.table)
            return cursor.execute(sql, list(parameters)).fetchall()

    def with_ids(self, trace_ids: pa.ChunkedArray) -> "TraceSummary":
        """Return the traces that have one of some ids."""
        return self._filtered(pc.is_in(self.table["trace_id"], trace_ids))

    def with_text(self, text: str) -> "TraceSummary":
        """Return the traces whose question contains a text near its beginning, in any case."""
        chunks = []
        for chunk in self.table["question"].chunks:
            # A question is searched once for all traces of its problem.
            has_text = pc.match_substring(chunk.dictionary, text, ignore_case=True)
            chunks.append(has_text.take(chunk.indices))
        return self._filtered(pa.chunked_array(chunks, pa.bool_()))

    def _filtered(self, mask: pa.ChunkedArray) -> "TraceSummary":
        return dataclasses.replace(self, table=self.table.filter(mask))

    def row_of(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return the row of a trace; None if the dataset does not have it."""
        index = pc.index(self.table["trace_id"], trace_id).as_py()
        if index < 0:
            return None
        row: Mapping[str, Any] = self.table.slice(index, 1).to_pylist()[0]
        return row

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={"memory_limit": f"{MEMORY_MIB}MiB", "threads": str(thread_count())}
        )
        # Only registered tables can be read.
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection


class SummaryReader:
    """A reader of summaries, which remembers the shards that have not changed."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.shards_to_read = 0
        """The shards of the summary that is being made, or was made last."""
        self.shards_read = 0
        self._is_stopped = False
        self._lock = threading.Lock()
        self._next_listing = 0.0
        self._shards: Mapping[int, ShardSummary] = MappingProxyType({})
        self._summary: TraceSummary | None = None

    def read(self) -> TraceSummary:
        """Return the summary of the parts that exist now.

        Raises:
            DatasetError: The dataset is missing, a part is damaged, or the reader was stopped.
        """
        with self._lock:
            if self._summary is not None and time.monotonic() < self._next_listing:
                return self._summary
            started = time.monotonic()
            self.dataset.require()
            versions = self._versions()
            listing_seconds = time.monotonic() - started
            version = digest("summary", sorted(versions.items()))
            if self._summary is None:
                self._shards = load_shards(self.dataset.uri)
            if self._summary is None or self._summary.version != version:
                self._summary = self._read_shards(version, versions)
            pause = max(LISTING_SECONDS, listing_seconds / MAX_LISTING_SHARE)
            self._next_listing = time.monotonic() + pause
            return self._summary

    def stop(self) -> None:
        """End a reading in another thread before its next shard: a process waits for it at exit."""
        # No lock: a signal handler may call this.
        self._is_stopped = True

    def _versions(self) -> Mapping[int, str]:
        """Return the state of the files of each shard that has traces."""
        files = dict[int, list[str]]()
        for table in self.dataset.tables():
            if table.kind in KINDS:
                for shard, version in self.dataset.part_versions(table).items():
                    files.setdefault(shard, []).append(f"{table.folder} {version}")
        return {shard: "\n".join(sorted(names)) for shard, names in sorted(files.items())}

    def _read_shards(self, version: str, versions: Mapping[int, str]) -> TraceSummary:
        tables_of = dict[int, list[Table[Any]]]()
        for table in self.dataset.tables():
            if table.kind in KINDS:
                for shard in self.dataset.shards(table):
                    tables_of.setdefault(shard, []).append(table)
        self.shards_to_read = len(versions)
        self.shards_read = 0

        def shard_of(shard: int) -> ShardSummary:
            summary = self._shards.get(shard)
            if summary is None or summary.version != versions[shard]:
                if self._is_stopped:
                    raise DatasetError(f"{self.dataset.uri} was not read: the reader was stopped")
                tables = tables_of.get(shard, ())
                summary = read_shard(self.dataset, shard, tables, versions[shard])
            self.shards_read += 1
            return summary

        with ThreadPoolExecutor(thread_count()) as pool:
            shards = dict(zip(versions, pool.map(shard_of, versions), strict=True))
        summary = _combine(version, shards)
        if any(part is not self._shards.get(shard) for shard, part in shards.items()):
            store_shards(self.dataset.uri, shards, summary.table)
        self._shards = shards
        return summary


def _combine(version: str, shards: Mapping[int, ShardSummary]) -> TraceSummary:
    totals = dict[str, MethodTotals]()
    tables = []
    for shard in shards.values():
        tables.append(shard.table)
        for method, part in shard.totals.items():
            totals[method] = totals.get(method, MethodTotals()) + part
    # Shards of an unfinished run lack columns, which are NULL there.
    table = pa.concat_tables([EMPTY, *tables], promote_options="permissive")
    methods = tuple(sorted(totals))
    return TraceSummary(version=version, methods=methods, totals=totals, table=table)
