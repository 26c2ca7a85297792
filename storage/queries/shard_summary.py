"""The traces of one shard side by side with their labels and annotations, without any text.

The rows of most tables have the order of the traces (see `alignment`), so their ids are compared as
they are stored. Only the columns of other tables are put in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, Table

__all__ = ["EMPTY", "KINDS", "MethodTotals", "ShardSummary", "read_shard"]

KINDS = frozenset({"problems", "traces", "discovered", "annotations", "labels"})
"""The kinds of tables that a summary is made from."""
# Columns with few different values: a dictionary takes a fraction of the memory.
NAME = pa.dictionary(pa.int32(), pa.string())
EMPTY = pa.table(
    {
        "shard": pa.array([], pa.int32()),
        "trace_id": pa.array([], pa.string()),
        "problem_id": pa.array([], pa.string()),
        "outcome": pa.array([], NAME),
        "model": pa.array([], NAME),
        "finish_reason": pa.array([], NAME),
        "generated_tokens": pa.array([], pa.int64()),
        "found_by": pa.array([], NAME),
        "steps": pa.array([], pa.int32()),
        "question": pa.array([], NAME),
        "domain": pa.array([], NAME),
        "source": pa.array([], NAME),
        "first_error": pa.array([], pa.int32()),
        "kept": pa.array([], pa.bool_()),
        "reason_kind": pa.array([], NAME),
        "confidence": pa.array([], pa.float64()),
    }
)
"""The columns of every summary; those of the methods are added."""
TRACE_COLUMNS = ("trace_id", "problem_id", "outcome", "model", "finish_reason", "generated_tokens")
# The beginning of a question tells problems apart in a list.
QUESTION_CHARS = 120
NUMBER_OR_ID = r"\b[0-9a-f]{16,}\b|-?\d+(\.\d+)?"
# Discovered traces have all columns of sampled ones.
TRACE_KINDS = ("traces", "discovered")
PROBLEM_COLUMNS = ("domain", "source")
LABEL_COLUMNS = ("first_error", "kept", "confidence")
ANNOTATION_COLUMNS = ("first_error", "confidence", "error")
COST_COLUMNS = ("rollouts", "prompt_tokens", "generated_tokens", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodTotals:
    """The sums of a method over its annotations."""

    annotations: int = 0
    failed: int = 0
    rollouts: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "MethodTotals") -> "MethodTotals":
        """Return the sums over the annotations of both."""
        return MethodTotals(
            annotations=self.annotations + other.annotations,
            failed=self.failed + other.failed,
            rollouts=self.rollouts + other.rollouts,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            generated_tokens=self.generated_tokens + other.generated_tokens,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """The traces of one shard."""

    version: str
    """The state of the files that the summary was made from."""
    table: pa.Table
    """The columns of `EMPTY` that the shard has, and those of its methods."""
    totals: Mapping[str, MethodTotals]
    """What each method cost."""


def read_shard(
    dataset: Dataset, shard: int, tables: Sequence[Table[Any]], version: str
) -> ShardSummary:
    """Return the traces of a shard.

    Args:
        dataset: The dataset.
        shard: The shard.
        tables: The tables that have a part of this shard, of the kinds `KINDS`.
        version: The state of their files.

    Raises:
        DatasetError: A part is missing or damaged, or was replaced while it was read.
    """
    try:
        return _side_by_side(dataset, shard, tables, version)
    except pa.ArrowInvalid as error:
        # Columns of two versions of a part have different lengths.
        raise DatasetError(
            f"shard {shard} of {dataset.uri} has changed while it was read: try again"
        ) from error


def _side_by_side(
    dataset: Dataset, shard: int, tables: Sequence[Table[Any]], version: str
) -> ShardSummary:
    traces = _read_traces(dataset, shard, tables)
    ids = traces["trace_id"]
    columns = {name: traces[name] for name in traces.column_names}
    columns["shard"] = pa.repeat(pa.scalar(shard, pa.int32()), len(ids))
    if PROBLEMS in tables:
        names: Sequence[str] = ("problem_id", "question", *PROBLEM_COLUMNS)
        problems = dataset.arrow_columns(PROBLEMS, shard, names)
        places = pc.index_in(traces["problem_id"], problems["problem_id"]).combine_chunks()
        questions = pc.utf8_slice_codeunits(problems["question"], 0, QUESTION_CHARS)
        columns["question"] = pa.DictionaryArray.from_arrays(places, questions.combine_chunks())
        for name in PROBLEM_COLUMNS:
            columns[name] = problems[name].take(places)
    encoded_ids = _encoded_ids(dataset, shard, tables)
    totals = dict[str, MethodTotals]()
    step_counts = list[pa.ChunkedArray]()
    for table in tables:
        if table == LABELS:
            names = (*LABEL_COLUMNS, "reason", "steps.value")
            labels = _read_aligned(dataset, table, shard, names, ids, encoded_ids)
            step_counts.append(pc.list_value_length(labels["steps"]))
            for name in LABEL_COLUMNS:
                columns[name] = labels[name]
            columns["reason_kind"] = _kinds_of(labels["reason"])
        elif table.kind == "annotations":
            names = (*ANNOTATION_COLUMNS, *COST_COLUMNS, "steps.trials")
            annotations = _read_aligned(dataset, table, shard, names, ids, encoded_ids)
            step_counts.append(pc.list_value_length(annotations["steps"]))
            assert table.method is not None
            totals[table.method] = _totals(annotations)
            columns |= _method_columns(table.method, annotations)
    # Each table has an element for each step: the texts need not be read to count them. A table
    # that has fewer, or no row of a trace, is ignored.
    if not step_counts or pc.max_element_wise(*step_counts).null_count:
        step_counts.append(pc.list_value_length(_read_steps(dataset, shard, tables)))
    columns["steps"] = pc.max_element_wise(*step_counts)
    return ShardSummary(version=version, table=_narrow(columns), totals=totals)


def _read_traces(dataset: Dataset, shard: int, tables: Sequence[Table[Any]]) -> pa.Table:
    """Return the sampled traces, and then those that methods discovered."""
    parts = [TRACES.schema.empty_table().select(TRACE_COLUMNS)]
    for table in tables:
        if table.kind in TRACE_KINDS:
            part = dataset.arrow_columns(table, shard, (*TRACE_COLUMNS, "found_by"))
            parts.append(part)
    return pa.concat_tables(parts, promote_options="permissive")


def _read_steps(dataset: Dataset, shard: int, tables: Sequence[Table[Any]]) -> pa.ChunkedArray:
    """Return the texts of the steps of the traces, in the order of `_read_traces`."""
    chunks = [pa.array([], pa.list_(pa.string()))]
    for table in tables:
        if table.kind in TRACE_KINDS:
            steps = dataset.arrow_columns(table, shard, ("steps",))["steps"]
            chunks.extend(steps.cast(pa.list_(pa.string())).chunks)
    return pa.chunked_array(chunks)


def _encoded_ids(dataset: Dataset, shard: int, tables: Sequence[Table[Any]]) -> bytes:
    """Return the ids of the traces as they are stored; none if they are not compared like that.

    This is so with discovered traces, and in a bucket, where each part would be read twice.
    """
    if not dataset.folder.is_local or TRACES not in tables:
        return b""
    if any(table.kind == "discovered" for table in tables):
        return b""
    return dataset.trace_index(TRACES, shard).encoded_ids


def _read_aligned(
    dataset: Dataset,
    table: Table[Any],
    shard: int,
    names: Sequence[str],
    ids: pa.ChunkedArray,
    encoded_ids: bytes,
) -> pa.Table:
    """Return columns of a part in the order of the traces, NULL where it has no row of a trace.

    Args:
        dataset: The dataset.
        table: The table.
        shard: The shard.
        names: The names of the columns.
        ids: The ids of the traces.
        encoded_ids: The same ids as they are stored.
    """
    if encoded_ids and dataset.trace_index(table, shard).encoded_ids == encoded_ids:
        return dataset.arrow_columns(table, shard, names)
    part = dataset.arrow_columns(table, shard, ("trace_id", *names))
    return part.take(pc.index_in(ids, part["trace_id"]))


def _method_columns(method: str, annotations: pa.Table) -> Mapping[str, pa.ChunkedArray]:
    return {
        f"{method}_annotated": pc.is_valid(annotations["rollouts"]),
        f"{method}_failed": pc.is_valid(annotations["error"]),
        f"{method}_first_error": annotations["first_error"],
        f"{method}_confidence": annotations["confidence"],
    }


def _kinds_of(reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the reasons with `N` for every number and id, in which most of them differ."""
    chunks = []
    for chunk in pc.dictionary_encode(reasons).chunks:
        kinds = pc.replace_substring_regex(chunk.dictionary, NUMBER_OR_ID, "N")
        chunks.append(kinds.take(chunk.indices))
    return pa.chunked_array(chunks, pa.string())


def _totals(annotations: pa.Table) -> MethodTotals:
    sums = {name: pc.sum(annotations[name]).as_py() or 0 for name in COST_COLUMNS}
    return MethodTotals(
        annotations=pc.count(annotations["rollouts"]).as_py(),
        failed=pc.count(annotations["error"]).as_py(),
        **sums,
    )


def _narrow(columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return the columns as a table, with dictionaries for names."""
    narrow = dict[str, pa.ChunkedArray]()
    for name, column in columns.items():
        expected = EMPTY.schema.field(name).type if name in EMPTY.column_names else column.type
        if expected == NAME and column.type != NAME:
            column = pc.dictionary_encode(column)
        narrow[name] = column.cast(expected)
    return pa.table(narrow)
