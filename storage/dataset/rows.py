"""Convert records to table rows and back.

A row contains the fields of a record as plain values. The fields of an annotation's `cost` are
columns of the row itself. Text is stored byte for byte with one exception: a lone surrogate (half
of a UTF-16 pair, which malformed JSON can contain) has no UTF-8 encoding, so `replace_surrogates`
replaces it with U+FFFD.
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
    StaleLabel,
    Trace,
    Verdict,
)

__all__ = ["InvalidRowError", "replace_surrogates", "to_record", "to_row"]

Record = TypeVar("Record")
Row = dict[str, Any]

_RECORD_TYPES: tuple[type[Any], ...] = (
    Problem,
    Rejected,
    Trace,
    Discovered,
    Rollout,
    Critique,
    Annotation,
    Label,
    StaleLabel,
)
_ADAPTERS: Mapping[type[Any], TypeAdapter[Any]] = {
    record_type: TypeAdapter(record_type) for record_type in _RECORD_TYPES
}
# Nearly all values have one of these types, which need no conversion.
_LEAVES = frozenset({str, int, float, bool, type(None), Verdict})
_COST_FIELDS = tuple(field.name for field in dataclasses.fields(Cost))


class InvalidRowError(DatasetError):
    """A row that cannot be converted to a record."""


def to_row(record: object) -> Row:
    """Return the table row of a record."""
    row: Row = _to_plain(record)
    if isinstance(record, Annotation):
        row |= row.pop("cost")
    return row


def to_record(record_type: type[Record], row: Row) -> Record:
    """Return the record of a table row; columns that the record does not have are ignored.

    A missing column has the default value of the record.

    Raises:
        InvalidRowError: A column without a default is missing, or a value is invalid.
    """
    if issubclass(record_type, Annotation):
        row = row | {"cost": {name: row[name] for name in _COST_FIELDS if name in row}}
    try:
        record: Record = _ADAPTERS[record_type].validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidRowError(
            f"a row is not a valid {record_type.__name__}: {field}: {first['msg']}"
        ) from error
    return record


def replace_surrogates(value: Any) -> Any:
    """Return the value with every lone surrogate in its text replaced, so that it can be encoded.

    Mappings, lists and tuples are converted recursively; tuples become lists.
    """
    if isinstance(value, str):
        # Decoding as UTF-16 joins valid pairs and replaces only the lone halves.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {replace_surrogates(key): replace_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_surrogates(item) for item in value]
    return value


def _to_plain(value: Any) -> Any:
    if isinstance(value, tuple):
        # Most tuples are texts, such as steps.
        return [item if type(item) in _LEAVES else _to_plain(item) for item in value]
    # `dataclasses.fields` reads the same attribute, but takes three times as long: a run converts
    # millions of values.
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return value
    row = {}
    for name in fields:
        item = getattr(value, name)
        row[name] = item if type(item) in _LEAVES else _to_plain(item)
    return row
