"""Convert Arrow columns to Python values, one column at a time.

`RecordBatch.to_pylist` creates a scalar object for every nested value, which takes ten times as
long for a row of steps.
"""

from itertools import pairwise
from typing import Any

import pyarrow as pa

__all__ = ["rows"]


def rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch, as `to_pylist(maps_as_pydicts="lossy")` does.

    Maps become dictionaries; of equal keys the last one is used.
    """
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(array: pa.Array) -> list[Any]:
    if pa.types.is_struct(array.type):
        values = _structs(array)
    elif pa.types.is_list(array.type) or pa.types.is_map(array.type):
        values = _lists(array)
    else:
        return list(array.to_pylist())
    if array.null_count == 0:
        return values
    # The children of a null are not null themselves, so the validity bitmap decides.
    is_valid = array.is_valid().to_pylist()
    return [value if valid else None for value, valid in zip(values, is_valid, strict=True)]


def _structs(array: pa.StructArray) -> list[Any]:
    names = [field.name for field in array.type]
    fields = [_values(array.field(index)) for index in range(len(names))]
    return [dict(zip(names, struct, strict=True)) for struct in zip(*fields, strict=True)]


def _lists(array: pa.Array) -> list[Any]:
    """Return the values of a list or map column.

    All elements are stored in one array, and offsets mark where each value begins.
    """
    bounds = pairwise(array.offsets.to_pylist())
    if pa.types.is_map(array.type):
        keys = _values(array.keys)
        items = _values(array.items)
        return [dict(zip(keys[start:end], items[start:end], strict=True)) for start, end in bounds]
    elements = _values(array.values)
    return [elements[start:end] for start, end in bounds]
