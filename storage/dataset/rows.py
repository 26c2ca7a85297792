"""Convert records to table rows and back.

A row contains the fields of a record as plain values. The fields of an annotation's `cost` are
columns of the row itself. Text is stored byte for byte with one exception: a lone surrogate (half
of a UTF-16 pair, which malformed JSON can contain) has no UTF-8 encoding, so `replace_surrogates`
replaces it with U+FFFD.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Self, TypeVar, cast, get_args, get_type_hints

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
)

__all__ = ["InvalidRowError", "replace_surrogates", "to_record", "to_row"]

Record = TypeVar("Record")

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
_COST_FIELDS = tuple(field.name for field in dataclasses.fields(Cost))


@dataclass(frozen=True)
class _Columns:
    """The columns of a record type.

    Args:
        values: Returns the values of a record, one per column. A run writes millions of records,
            and this takes a fifth of the time of `getattr` for each name.
        nested: The positions of the columns that contain records.
    """

    values: Callable[[object], tuple[Any, ...]]
    nested: tuple[int, ...]

    @classmethod
    def of(cls, record_type: type[Any]) -> Self:
        """Return the columns of a record type."""
        hints = get_type_hints(record_type)
        names = list[str]()
        nested = list[int]()
        for field in dataclasses.fields(record_type):
            if hints[field.name] is Cost:
                names.extend(f"{field.name}.{cost_field}" for cost_field in _COST_FIELDS)
                continue
            if _contains_records(hints[field.name]):
                nested.append(len(names))
            names.append(field.name)
        return cls(attrgetter(*names), tuple(nested))


def _contains_records(hint: Any) -> bool:
    """Return whether values of a type are dataclasses, or tuples of them."""
    return dataclasses.is_dataclass(hint) or any(map(_contains_records, get_args(hint)))


_COLUMNS: Mapping[type[Any], _Columns] = {
    record_type: _Columns.of(record_type) for record_type in _RECORD_TYPES
}


class InvalidRowError(DatasetError):
    """A row that cannot be converted to a record."""


def to_row(record: object) -> Sequence[Any]:
    """Return the table row of a record: one value per column, in the order of the schema."""
    columns = _COLUMNS[type(record)]
    values = columns.values(record)
    if not columns.nested:
        return values
    row = list(values)
    for position in columns.nested:
        row[position] = _without_records(row[position])
    return row


def to_record(record_type: type[Record], row: Mapping[str, Any]) -> Record:
    """Return the record of a table row; columns that the record does not have are ignored.

    A missing column has the default value of the record.

    Raises:
        InvalidRowError: A column without a default is missing, or a value is invalid.
    """
    if issubclass(record_type, Annotation):
        row = {**row, "cost": {name: row[name] for name in _COST_FIELDS if name in row}}
    try:
        record: Record = _adapter(cast(Hashable, record_type)).validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidRowError(
            f"a row is not a valid {record_type.__name__}: {field}: {first['msg']}"
        ) from error
    return record


@cache
def _adapter(record_type: Any) -> TypeAdapter[Any]:
    """Return what validates the records of a type; commands that read none do not build it."""
    return TypeAdapter(record_type)


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


def _without_records(value: Any) -> Any:
    """Return a record as a dictionary, a tuple of records as a list, and None unchanged."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return [_without_records(item) for item in value]
    names, values = _fields(cast(Hashable, type(value)))
    return dict(zip(names, values(value), strict=True))


@cache
def _fields(record_type: Any) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the names of the fields of a record, two or more, and what returns their values."""
    names = tuple(field.name for field in dataclasses.fields(record_type))
    return names, attrgetter(*names)
