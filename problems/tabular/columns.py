"""Values out of rows: dotted paths, and texts that the rest of Stepmark can rely on (UTF-8, not empty, not endless)."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

from problems.tabular.readers import Row
from stepmark.errors import InputError
from stepmark.records import Rejected

__all__ = ["MAX_CHARACTERS", "UnusableError", "at", "number_or_text_at", "text_of", "with_columns"]

# Of a question, an answer, a solution, a step: 1,000 times what a model writes. What is longer is a broken export.
MAX_CHARACTERS = 1_000_000
BIGGEST_NUMBER = 10**100
# A row may lack a column, a file may not: this many rows are looked at before the file is refused.
ROWS_LOOKED_AT = 100
MANY_NAMES = 20

_ABSENT = object()


class UnusableError(Exception):
    """A row that cannot be used; it becomes a `Rejected`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def rejected(self, row: Row) -> Rejected:
        """The record of it."""
        return Rejected(file=row.file, row=row.number, field=self.field, reason=self.reason)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path, None where nothing does; a column whose own name has dots is found too.

    >>> at({"meta": {"answers": ["18"]}, "a.b": 1}, "meta.answers.0")
    '18'
    """
    found = _find(value, path)
    return None if found is _ABSENT else found


def _find(value: Any, path: str) -> Any:
    if isinstance(value, list | tuple):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, Mapping):
        return _ABSENT
    if path in value:
        return value[path]
    dots = (
        index for index, character in enumerate(path) if character == "." and path[:index] in value
    )
    return next(
        (
            found
            for dot in dots
            if (found := _find(value[path[:dot]], path[dot + 1 :])) is not _ABSENT
        ),
        _ABSENT,
    )


def _has(row: Row, path: str) -> bool:
    if path.startswith("*."):
        return any(_find(value, path[2:]) is not _ABSENT for value in row.value.values())
    return _find(row.value, path) is not _ABSENT


def text_of(value: object, field: str) -> str:
    """The value as text that has something to read, or `UnusableError`."""
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


def number_or_text_at(value: Any, path: str) -> str | None:
    """The text or the number at a path, stripped; None where it is absent, null or blank."""
    found = at(value, path)
    if found is None or (isinstance(found, str) and not found.strip()):
        return None
    if isinstance(found, int | float | Decimal) and not isinstance(found, bool):
        if isinstance(found, int) and abs(found) >= BIGGEST_NUMBER:
            raise UnusableError(path, "a number of too many digits")
        if not isinstance(found, int) and not math.isfinite(found):
            raise UnusableError(path, f"{found}, not a number")
        found = str(found)
    return text_of(found, path).strip()


def with_columns(
    rows: Iterable[Row | Rejected], needed: Sequence[Sequence[str]]
) -> Iterator[Row | Rejected]:
    """The rows of one file, once its first rows are seen to have the columns: of each group of alternatives, one."""
    rows = iter(rows)
    first: deque[Row | Rejected] = deque()
    while len(first) < ROWS_LOOKED_AT and (row := next(rows, None)) is not None:
        first.append(row)
    read = [row for row in first if isinstance(row, Row)]
    for alternatives in needed:
        if read and not any(_has(row, path) for row in read for path in alternatives):
            raise InputError(_no_column(read, alternatives))
    return chain(first, rows)


def _no_column(read: Sequence[Row], alternatives: Sequence[str]) -> str:
    names = list(dict.fromkeys(str(name) for row in read for name in row.value))
    shown = ", ".join(names[:MANY_NAMES]) + (", …" if len(names) > MANY_NAMES else "")
    return f"{read[0].file} has no field {' or '.join(map(repr, alternatives))}; it has: {shown or 'none'}"
