"""Everything that a dataset contains about one trace.

Shard i of every table belongs to the same problems: once the shard of a trace is known, only the
parts of this shard are read.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Annotation, Critique, Label, Problem, Rollout, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.queries.limits import thread_count
from storage.queries.sql import query

__all__ = [
    "TraceDetails",
    "TraceLocation",
    "find_trace",
    "read_details",
    "select_traces",
]

# How many traces the error for an ambiguous prefix names.
NAMED_TRACES = 3


class TraceLocation(NamedTuple):
    """Where a trace is stored."""

    trace_id: str
    table: Table[Any]
    """The table `traces`, or that of the traces that a method discovered."""
    shard: int


@dataclass(frozen=True, kw_only=True)
class TraceDetails:
    """One trace with the records of all tables that belong to it."""

    trace: Trace
    """A `Discovered` if a method created it."""
    problem: Problem | None
    """None if its part is missing."""
    annotations: Sequence[Annotation]
    """One per method that has annotated the trace, in alphabetical order."""
    label: Label | None
    critiques: Sequence[Critique]
    rollouts: Sequence[Rollout]


def find_trace(dataset: Dataset, prefix: str) -> TraceLocation:
    """Return the trace with an id, or the only trace whose id begins with it.

    Raises:
        ConfigError: There is no such trace, or there are several.
        DatasetError: The dataset is missing, or a part is damaged.
    """
    dataset.require()
    locations = _locate(dataset, lambda trace_id: trace_id.startswith(prefix))
    for location in locations:
        if location.trace_id == prefix:
            return location
    if not locations:
        raise ConfigError(f"{dataset.uri} has no trace whose id begins with {prefix[:80]!a}")
    if len(locations) > 1:
        names = [location.trace_id for location in locations[:NAMED_TRACES]]
        raise ConfigError(
            f"{len(locations)} traces have an id that begins with {prefix[:80]!a}, such as"
            f" {', '.join(names)}: write more of it"
        )
    return locations[0]


def select_traces(
    dataset: Dataset, where: str, limit: int, *, at_random: bool = False
) -> tuple[Sequence[TraceLocation], int]:
    """Return some of the traces that fulfil a condition, and the number of all of them.

    Args:
        dataset: The dataset.
        where: An SQL condition on the columns of the view `verdicts`, which is limited as other
            queries are; "" for all traces.
        limit: How many traces are returned.
        at_random: Whether they are chosen at random; otherwise they are the first ones by id.

    Raises:
        ConfigError: The condition is invalid, or exceeds the limits of queries.
        DatasetError: As for `find_trace`.
    """
    order = "random()" if at_random else "trace_id"
    # On a separate line, because it can end in a comment.
    source = f"verdicts WHERE (\n{where}\n)" if where else "traces"
    selected = query(
        dataset,
        "SELECT trace_id, count(*) OVER () AS matching"
        f" FROM (SELECT trace_id FROM {source}) ORDER BY {order} LIMIT {limit}",
    ).to_pydict()
    trace_ids = selected["trace_id"]
    locations = _locate(dataset, set(trace_ids).__contains__)
    locations.sort(key=lambda location: trace_ids.index(location.trace_id))
    return locations, next(iter(selected["matching"]), 0)


def read_details(dataset: Dataset, location: TraceLocation) -> TraceDetails:
    """Return the records of a trace.

    Raises:
        DatasetError: A part of its shard is damaged, or the trace was removed meanwhile.
    """
    trace_id, table, shard = location

    def read(
        other_table: Table[Any], column: str = "trace_id", value: str = trace_id
    ) -> Sequence[Any]:
        if shard not in dataset.shards(other_table):
            return ()
        return tuple(dataset.matching_records(other_table, shard, column, [value]))

    def read_of_methods(kind: str, table_of: Callable[[str], Table[Any]]) -> Sequence[Any]:
        records = list[Any]()
        for method in dataset.methods(kind):
            records.extend(read(table_of(method)))
        return records

    traces: Sequence[Trace] = read(table)
    if not traces:
        raise DatasetError(f"{dataset.uri}: the trace {trace_id} was removed meanwhile")
    problems = read(PROBLEMS, "problem_id", traces[0].problem_id)
    labels = read(LABELS)
    return TraceDetails(
        trace=traces[0],
        problem=problems[0] if problems else None,
        annotations=read_of_methods("annotations", annotations),
        label=labels[0] if labels else None,
        critiques=read_of_methods("critiques", critiques),
        rollouts=read_of_methods("rollouts", rollouts),
    )


def _locate(dataset: Dataset, is_match: Callable[[str], bool]) -> list[TraceLocation]:
    """Return the traces whose ids are accepted, in the order of their shards."""
    tables: list[Table[Any]] = [TRACES]
    tables.extend(map(discovered, dataset.methods("discovered")))
    parts = list[tuple[Table[Any], int]]()
    for table in tables:
        parts.extend((table, shard) for shard in dataset.shards(table))

    def search(part: tuple[Table[Any], int]) -> list[str]:
        return [trace_id for trace_id in dataset.column(*part, "trace_id") if is_match(trace_id)]

    locations = list[TraceLocation]()
    with ThreadPoolExecutor(thread_count()) as pool:
        for part, trace_ids in zip(parts, pool.map(search, parts), strict=True):
            locations.extend(TraceLocation(trace_id, *part) for trace_id in trace_ids)
    return locations
