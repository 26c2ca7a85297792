"""Values in rows: dotted paths, and texts with guarantees (UTF-8, not empty, limited length)."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

from problems.tabular.readers import Row
from stepmark.errors import InputError
from stepmark.records import Rejected

__all__ = [
    "BIGGEST_NUMBER",
    "MAX_CHARACTERS",
    "MissingColumnError",
    "UnusableError",
    "is_missing",
    "number_or_text",
    "number_or_text_at",
    "require_columns",
    "text_of",
    "value_at",
]

# Of a question, an answer, a solution or a step: 1,000 times what a model writes. A longer text is
# the sign of a broken export.
MAX_CHARACTERS = 1_000_000
BIGGEST_NUMBER = 10**100
# A single row may lack a column, a file may not: a file is rejected if none of its first rows has
# the column.
ROWS_CHECKED = 100
# Column names in an error message.
MAX_NAMES_LISTED = 20

# Distinguishes an absent value from a null.
_ABSENT = object()


class MissingColumnError(InputError):
    """A file without a column that is needed."""


class UnusableError(Exception):
    """A row, or a solution in a row, that cannot be used. It becomes a `Rejected` record."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def rejected(self, row: Row) -> Rejected:
        """Return the record of the rejection."""
        return Rejected(file=row.file, row=row.number, field=self.field, reason=self.reason)


def value_at(value: Any, path: str) -> Any:
    """Return the value at a dotted path, or None if there is none.

    A part of the path may itself contain dots, because column names may.

    >>> value_at({"meta": {"answers": ["18"]}, "a.b": 1}, "meta.answers.0")
    '18'
    """
    result = _find(value, path)
    if result is _ABSENT:
        return None
    return result


def _find(value: Any, path: str) -> Any:
    """Return the value at a dotted path, or `_ABSENT`."""
    if isinstance(value, list | tuple):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, Mapping):
        return _ABSENT
    if path in value:
        return value[path]
    # Every dot may separate a key from the rest of the path, the first one preferred.
    for index, character in enumerate(path):
        if character == "." and path[:index] in value:
            result = _find(value[path[:index]], path[index + 1 :])
            if result is not _ABSENT:
                return result
    return _ABSENT


def _has(row: Row, path: str) -> bool:
    """Return whether a row has a value, possibly null, at a path; `*.` stands for any column."""
    if path.startswith("*."):
        return any(_find(value, path[2:]) is not _ABSENT for value in row.value.values())
    return _find(row.value, path) is not _ABSENT


def text_of(value: object, field: str) -> str:
    """Return a value that is a usable text.

    Raises:
        UnusableError: It is missing, no text, blank, too long or not encodable as UTF-8.
    """
    if value is None:
        raise UnusableError(field, "missing")
    if not isinstance(value, str):
        raise UnusableError(field, f"a {type(value).__name__}, not text")
    if not value or value.isspace():
        raise UnusableError(field, "empty")
    if len(value) > MAX_CHARACTERS:
        raise UnusableError(field, f"longer than {MAX_CHARACTERS:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnusableError(
            field, f"not UTF-8: a lone surrogate at character {error.start + 1}"
        ) from error
    return value


def is_missing(value: object) -> bool:
    """Return whether a value is null or NaN, which pandas writes for null."""
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def number_or_text_at(value: Any, path: str) -> str | None:
    """Return the text or the number at a path as stripped text; see `number_or_text`."""
    return number_or_text(value_at(value, path), path)


def number_or_text(item: object, path: str) -> str | None:
    """Return a text or a number as stripped text.

    None if it is null, NaN or blank.

    Args:
        item: The value.
        path: Where the row has it, for error messages.

    Raises:
        UnusableError: The value is an infinite or huge number, or no usable text.
    """
    if is_missing(item) or (isinstance(item, str) and not item.strip()):
        return None
    # A boolean is an int to Python, but no number here; `text_of` rejects it.
    if isinstance(item, int | float | Decimal) and not isinstance(item, bool):
        if isinstance(item, int) and abs(item) >= BIGGEST_NUMBER:
            raise UnusableError(path, "a number of too many digits")
        if not isinstance(item, int) and not math.isfinite(item):
            raise UnusableError(path, f"{item}, not a number")
        item = str(item)
    return text_of(item, path).strip()


def require_columns(
    rows: Iterable[Row | Rejected], needed: Sequence[Sequence[str]]
) -> Iterator[Row | Rejected]:
    """Return the rows of one file after checking its first rows for columns.

    Args:
        rows: The rows of a file.
        needed: Groups of alternative columns; the file must have one of each group.

    Raises:
        MissingColumnError: None of the first rows has a column of a group.
    """
    rows = iter(rows)
    buffered: deque[Row | Rejected] = deque()
    for row in rows:
        buffered.append(row)
        if len(buffered) == ROWS_CHECKED:
            break
    readable = [row for row in buffered if isinstance(row, Row)]
    for alternatives in needed:
        # A file without a single readable row is not missing a column; its rows are rejected.
        if readable and not any(_has_any(row, alternatives) for row in readable):
            raise MissingColumnError(_missing_column_message(readable, alternatives))
    return chain(buffered, rows)


def _has_any(row: Row, paths: Sequence[str]) -> bool:
    return any(_has(row, path) for path in paths)


def _missing_column_message(rows: Sequence[Row], alternatives: Sequence[str]) -> str:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(map(str, row.value)))
    listing = ", ".join(list(names)[:MAX_NAMES_LISTED]) or "none"
    if len(names) > MAX_NAMES_LISTED:
        listing += ", …"
    columns = " or ".join(map(repr, alternatives))
    return f"{rows[0].file} has no field {columns}; it has: {listing}"
