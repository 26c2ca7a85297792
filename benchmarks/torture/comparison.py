"""Comparison of the dataset of a disturbed run with that of an undisturbed one."""

import dataclasses
import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepmark.records import StoredCompletion
from storage.completions.files import list_files, read_table
from storage.dataset.dataset import Dataset
from storage.dataset.parts import TIMING_COLUMNS
from storage.dataset.tables import Table

__all__ = ["differences", "stored_completions"]

# The columns that identify a row of a table, within the parts of one method.
IDS: Mapping[str, str] = {
    "problems": "problem_id",
    "traces": "trace_id",
    "discovered": "trace_id",
    "rollouts": "rollout_id",
    "annotations": "trace_id",
    "labels": "trace_id",
}


def differences(expected: Dataset, actual: Dataset) -> Iterator[str]:
    """Yield a line for each difference between two datasets of the same run file.

    Times are left out. The files are compared by name, so that anything left over is noticed.
    """
    expected_files = _files(expected)
    actual_files = _files(actual)
    for name in sorted(expected_files - actual_files):
        yield f"{name} is missing"
    for name in sorted(actual_files - expected_files):
        yield f"{name} does not belong there"
    for table in expected.tables():
        yield from _table_differences(expected, actual, table)
    yield from _completion_differences(expected, actual)


def stored_completions(dataset: Dataset) -> Mapping[bytes, int]:
    """Return the generated tokens of every stored completion by key."""
    tokens = dict[bytes, int]()
    for row in _stored_rows(dataset):
        tokens[row["key"]] = row["generated_tokens"]
    return tokens


def _files(dataset: Dataset) -> set[str]:
    folder = Path(dataset.uri)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _table_differences(expected: Dataset, actual: Dataset, table: Table[Any]) -> Iterator[str]:
    for shard in expected.shards(table):
        path = expected.path(table, shard)
        footer = actual.footer(table, shard)
        if footer is None:
            yield f"{path} cannot be read"
            continue
        if footer.part_key != expected.check_part(table, shard).part_key:
            yield f"{path} has another part key"
        rows = list(map(_without_times, actual.read_part(table, shard)))
        expected_rows = list(map(_without_times, expected.read_part(table, shard)))
        if len(rows) != len(expected_rows):
            yield f"{path} has {len(rows)} rows instead of {len(expected_rows)}"
        different = sum(a != b for a, b in zip(rows, expected_rows, strict=False))
        if different:
            yield f"{path} has {different} different rows"
    id_column = IDS.get(table.kind)
    if id_column is not None:
        ids = Counter(map(operator.attrgetter(id_column), actual.read(table)))
        repeated = sum(count > 1 for count in ids.values())
        if repeated:
            yield f"{table.folder} has {repeated} ids twice"


def _without_times(record: Any) -> Any:
    """Return a record as nested dictionaries without its timing columns."""
    row = dataclasses.asdict(record)
    for table in (row, row.get("cost", {})):
        for column in TIMING_COLUMNS:
            table.pop(column, None)
    return row


def _completion_differences(expected: Dataset, actual: Dataset) -> Iterator[str]:
    values = operator.itemgetter(*StoredCompletion._fields)
    expected_rows = dict[bytes, tuple[Any, ...]]()
    for row in _stored_rows(expected):
        expected_rows[row["key"]] = values(row)
    seen = set[bytes]()
    repeated = 0
    different = 0
    for row in _stored_rows(actual):
        key = row["key"]
        repeated += key in seen
        seen.add(key)
        different += expected_rows.get(key) != values(row)
    if repeated:
        yield f"{repeated} completions are stored twice"
    if different:
        yield f"{different} completions are different"
    missing = len(expected_rows.keys() - seen)
    if missing:
        yield f"{missing} completions are missing"


def _stored_rows(dataset: Dataset) -> Iterator[Mapping[str, Any]]:
    for file in list_files(dataset.folder):
        _, table = read_table(dataset.folder, file.path)
        yield from table.to_pylist()
