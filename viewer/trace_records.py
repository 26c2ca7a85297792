"""All records about one trace, read from the parts of its shard."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
from storage.queries.trace_summary import TraceSummary

__all__ = [
    "Sibling",
    "TraceRecords",
    "read_critiques",
    "read_rollouts",
    "read_siblings",
    "read_trace",
]

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecords:
    """A trace with its problem, its label and its annotations."""

    shard: int
    trace: Trace
    problem: Problem | None
    label: Label | None
    annotations: Sequence[Annotation]
    """The annotations, sorted by method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """A trace of the same problem, with its label."""

    trace: Trace
    label: Label | None


def read_trace(dataset: Dataset, summary: TraceSummary, trace_id: str) -> TraceRecords | None:
    """Return the records of a trace; None if the dataset has no such trace.

    Raises:
        DatasetError: A part is damaged, or was removed since the summary was made.
    """
    row = summary.row_of(trace_id)
    if row is None:
        return None
    shard = row["shard"]
    table: Table[Any] = TRACES
    if row["found_by"]:
        table = discovered(row["found_by"])
    trace: Trace | None = _first(dataset, table, shard, "trace_id", trace_id)
    if trace is None:
        return None
    methods = []
    for method in summary.methods:
        annotation = _first(dataset, annotations(method), shard, "trace_id", trace_id)
        if annotation is not None:
            methods.append(annotation)
    return TraceRecords(
        shard=shard,
        trace=trace,
        problem=_first(dataset, PROBLEMS, shard, "problem_id", trace.problem_id),
        label=_first(dataset, LABELS, shard, "trace_id", trace_id),
        annotations=methods,
    )


def read_siblings(dataset: Dataset, records: TraceRecords) -> Sequence[Sibling]:
    """Return the traces of the same problem: the sampled ones, then those that methods discovered.

    Raises:
        DatasetError: As for `read_trace`.
    """
    shard = records.shard
    problem_id = [records.trace.problem_id]
    traces = list(_matching(dataset, TRACES, shard, "problem_id", problem_id))
    for method in dataset.methods("discovered"):
        table: Table[Any] = discovered(method)
        traces.extend(_matching(dataset, table, shard, "problem_id", problem_id))
    ids = [trace.trace_id for trace in traces]
    labels = dict[str, Label]()
    for label in _matching(dataset, LABELS, shard, "trace_id", ids):
        labels[label.trace_id] = label
    return [Sibling(trace=trace, label=labels.get(trace.trace_id)) for trace in traces]


def read_rollouts(dataset: Dataset, shard: int, trace_ids: Collection[str]) -> Sequence[Rollout]:
    """Return the rollouts from all prefixes of some traces of a shard, by method.

    Raises:
        DatasetError: As for `read_trace`.
    """
    records = list[Rollout]()
    for method in dataset.methods("rollouts"):
        records.extend(_matching(dataset, rollouts(method), shard, "trace_id", trace_ids))
    return records


def read_critiques(dataset: Dataset, shard: int, trace_id: str) -> Sequence[Critique]:
    """Return the replies of judges about a trace, by method.

    Raises:
        DatasetError: As for `read_trace`.
    """
    records = list[Critique]()
    for method in dataset.methods("critiques"):
        records.extend(_matching(dataset, critiques(method), shard, "trace_id", [trace_id]))
    return records


def _first(
    dataset: Dataset, table: Table[Record], shard: int, column: str, value: str
) -> Record | None:
    return next(_matching(dataset, table, shard, column, [value]), None)


def _matching(
    dataset: Dataset, table: Table[Record], shard: int, column: str, values: Collection[str]
) -> Iterator[Record]:
    if shard in dataset.shards(table):
        yield from dataset.matching_records(table, shard, column, values)
