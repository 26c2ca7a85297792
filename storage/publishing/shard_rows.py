"""The rows of a format, made shard by shard: each shard is independent of all others."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from stepmark.records import Verdict
from storage.dataset.parts import record_batches
from storage.formats.base import (
    Example,
    ExportedRow,
    Format,
    LeftOut,
    ProblemFormat,
    exported_rows,
)
from storage.publishing.merging import merged_examples
from storage.publishing.row_options import RowOptions
from storage.publishing.statistics import ExportStatistics
from storage.queries.examples import ExampleJoin

__all__ = ["ShardRows", "SplitRows"]


@dataclass(slots=True)
class SplitRows:
    """The rows of one split of a shard."""

    batches: list[pa.RecordBatch]
    have_error: bytes
    """For every row 1 if its trace has an error, else 0."""
    numbers: Sequence[int]
    """The number of every row among those of all splits of the shard, from 0 and ascending."""


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """The conversion of the examples of a shard to rows.

    Args:
        join: The source of the examples.
        exporter: The format.
        merge: Whether each trace is also exported with merged steps.
        options: Which rows are made, and their splits.
    """

    join: ExampleJoin
    exporter: Format
    merge: bool
    options: RowOptions

    @property
    def schema(self) -> pa.Schema:
        """The schema of the rows; ids that the format has as columns are not added."""
        schema = self.exporter.schema
        if self.options.with_ids:
            for name, column_type in self._id_columns.items():
                if name not in schema.names:
                    schema = schema.append(pa.field(name, column_type))
        return schema

    def rows(self, shard: int, statistics: ExportStatistics) -> Mapping[str, SplitRows]:
        """Return the rows of a shard by split, and count its traces."""
        schema = self.schema
        by_split = defaultdict[str, _RowList](_RowList)
        count = 0
        kept = self._kept_examples(self.join.shard(shard), statistics)
        for item in exported_rows(self.exporter, kept):
            if isinstance(item, LeftOut):
                statistics.left_out[item.reason] += 1
                continue
            split = self.options.split_of(item.examples[0].problem, self.exporter.split)
            row = item.row
            if self.options.with_ids:
                row = {**_ids(item), **row}
            rows = by_split[split]
            rows.values.append([row.get(name) for name in schema.names])
            rows.have_error.append(_has_error(item.examples[0]))
            rows.numbers.append(count)
            count += 1
        split_rows = dict[str, SplitRows]()
        for split, rows in by_split.items():
            batches = list(record_batches(schema, rows.values))
            split_rows[split] = SplitRows(batches, bytes(rows.have_error), rows.numbers)
        return split_rows

    @property
    def _id_columns(self) -> Mapping[str, pa.DataType]:
        if isinstance(self.exporter, ProblemFormat):
            return {"trace_ids": pa.list_(pa.string()), "problem_id": pa.string()}
        return {"trace_id": pa.string(), "problem_id": pa.string()}

    def _kept_examples(
        self, items: Iterable[Example | LeftOut], statistics: ExportStatistics
    ) -> Iterator[Example]:
        """Yield the selected examples with a kept label, and count the selected ones."""
        selected = self.options.traces
        for item in items:
            if isinstance(item, LeftOut):
                statistics.left_out[item.reason] += 1
            elif selected is not None and item.trace.trace_id not in selected:
                statistics.left_out["it is not selected"] += 1
            elif not item.label.kept:
                statistics.add(item)
                statistics.left_out["its label is not kept"] += 1
            else:
                statistics.add(item)
                yield item
                if self.merge:
                    yield from merged_examples(item)


@dataclass(slots=True)
class _RowList:
    values: list[Sequence[Any]] = field(default_factory=list)
    have_error: bytearray = field(default_factory=bytearray)
    numbers: list[int] = field(default_factory=list)


def _ids(item: ExportedRow) -> Mapping[str, Any]:
    trace_ids = [example.trace.trace_id for example in item.examples]
    problem_id = item.examples[0].problem.problem_id
    return {"trace_id": trace_ids[0], "trace_ids": trace_ids, "problem_id": problem_id}


def _has_error(example: Example) -> bool:
    for step in example.label.steps:
        if step.label is Verdict.INCORRECT:
            return True
    return False
