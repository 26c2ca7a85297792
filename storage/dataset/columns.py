"""Convert Python rows to Arrow columns and back.

`RecordBatch.to_pylist` creates a scalar object for every nested value, which takes ten times as
long for a row of steps, so rows are read column by column. A column of the type `ENTRIES` contains
mappings: dictionaries in Python.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from storage.dataset.schemas import ENTRIES

__all__ = ["record_batch", "rows"]

_MAP = pa.map_(ENTRIES.value_type.field("key").type, ENTRIES.value_type.field("value").type)


def record_batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return one or more rows, with one value per column each, as a batch.

    Raises:
        UnicodeEncodeError: A text contains a lone surrogate.
    """
    arrays = []
    for field, values in zip(schema, zip(*rows, strict=True), strict=True):
        if field.type == ENTRIES:
            # Arrow converts dictionaries to its map type only.
            arrays.append(_entries(pa.array(values, _MAP)))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch, as `to_pylist(maps_as_pydicts="lossy")` does.

    Maps and columns of the type `ENTRIES` become dictionaries; of equal keys the last one is used.
    """
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _entries(array: pa.MapArray) -> pa.ListArray:
    """Return an array of maps as an array of the type `ENTRIES`, without copying."""
    structs = pa.StructArray.from_arrays([array.keys, array.items], fields=list(ENTRIES.value_type))
    return pa.ListArray.from_arrays(array.offsets, structs, type=ENTRIES)


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
    is_map = pa.types.is_map(array.type)
    if is_map or array.type == ENTRIES:
        keys = _values(array.keys if is_map else array.values.field("key"))
        items = _values(array.items if is_map else array.values.field("value"))
        return [dict(zip(keys[start:end], items[start:end], strict=True)) for start, end in bounds]
    elements = _values(array.values)
    return [elements[start:end] for start, end in bounds]
