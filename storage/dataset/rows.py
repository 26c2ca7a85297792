"""Records to table rows and back.

A row is the record's fields as plain values; an annotation's `cost` lies flat among its other columns. Text comes back byte for
byte with one exception: a lone surrogate (half of a UTF-16 pair, which hostile JSON can smuggle in) has no UTF-8 form, so
`mended` replaces it with U+FFFD.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from stepmark.errors import DatasetError
from stepmark.records import (
    Annotation,
    Cost,
    Critique,
    Discovered,
    Label,
    Problem,
    Rejected,
    Rollout,
    Trace,
    Verdict,
)

__all__ = ["mended", "to_record", "to_row"]

Record = TypeVar("Record")
Row = dict[str, Any]

_KINDS: tuple[type[Any], ...] = (
    Problem,
    Rejected,
    Trace,
    Discovered,
    Rollout,
    Critique,
    Annotation,
    Label,
)
_ADAPTERS: Mapping[type[Any], TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _KINDS}
_LEAVES = frozenset({str, int, float, bool, type(None), Verdict})
"""The types of nearly all values, to be told without a call for each."""
_COST = tuple(field.name for field in dataclasses.fields(Cost))


def to_row(record: object) -> Row:
    """The table row of a record."""
    row: Row = _plain(record)
    if isinstance(record, Annotation):
        row |= row.pop("cost")
    return row


def to_record(kind: type[Record], row: Row) -> Record:
    """The record of a table row; columns unknown to the record are ignored, a missing one is a `DatasetError`."""
    if kind is Annotation:
        row = row | {"cost": {name: row[name] for name in _COST if name in row}}
    try:
        record: Record = _ADAPTERS[kind].validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DatasetError(
            f"a row is no {kind.__name__}: {where}: {first['msg']}; run again to make its part anew"
        ) from error
    return record


def mended(value: Any) -> Any:
    """The same value with every lone surrogate in its text replaced, so that it can be encoded."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {mended(key): mended(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mended(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    # What `dataclasses.fields` looks at: a run has millions of values, and asking it for every one takes three times as long.
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return value
    return {
        name: item if type(item := getattr(value, name)) in _LEAVES else _plain(item)
        for name in fields
    }
