"""Arrow columns as Python values, a column at a time.

`RecordBatch.to_pylist` makes a scalar object of every nested value, which for a row of steps takes ten times as long.
"""

from itertools import pairwise
from typing import Any

import pyarrow as pa

__all__ = ["rows"]


def rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch, as `to_pylist(maps_as_pydicts="lossy")` gives them: maps as dictionaries, of equal keys the last."""
    columns = (_values(column) for column in batch.columns)
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(array: pa.Array) -> list[Any]:
    if pa.types.is_struct(array.type):
        values = _struct(array)
    elif pa.types.is_list(array.type) or pa.types.is_map(array.type):
        values = _lists(array)
    else:
        return list(array.to_pylist())
    return (
        [
            value if there else None
            for value, there in zip(values, array.is_valid().to_pylist(), strict=True)
        ]
        if array.null_count
        else values
    )


def _struct(array: pa.StructArray) -> list[Any]:
    names = [field.name for field in array.type]
    fields = (_values(array.field(index)) for index in range(len(names)))
    return [dict(zip(names, value, strict=True)) for value in zip(*fields, strict=True)]


def _lists(array: pa.Array) -> list[Any]:
    """Of a list or a map column: its elements lie end to end, and offsets say where each value begins."""
    places = pairwise(array.offsets.to_pylist())
    if pa.types.is_map(array.type):
        keys, items = _values(array.keys), _values(array.items)
        return [dict(zip(keys[start:end], items[start:end], strict=True)) for start, end in places]
    elements = _values(array.values)
    return [elements[start:end] for start, end in places]
