"""Render the result of a query as JSON, JSON lines or CSV.

The command line renders tables for people.
"""

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from stepmark.errors import ConfigError
from stepmark.visible_text import HIDDEN, visible

__all__ = [
    "csv_rows",
    "distinct_names",
    "json_lines",
    "json_rows",
    "to_csv",
    "to_json",
    "to_json_object",
    "values",
]

# What a spreadsheet takes for a formula, also in the wide characters of Asian keyboards, and white
# space that hides one ("CSV injection", OWASP). A number with a sign is no formula.
FORMULA = re.compile(r"(?![+-][\d.,]+\Z)[=+\-@\t\n\r＝＋－＠]")
# JSON itself escapes the control characters below the space.
HIDDEN_CHARACTER = re.compile(f"[{HIDDEN}]")


def values(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as Python values; maps are dictionaries.

    The values are in the order of `table.column_names`, which can contain a name twice.
    """
    for batch in table.to_batches():
        columns = []
        for name, column in zip(table.column_names, batch.columns, strict=True):
            columns.append(_python_values(name, column))
        yield from zip(*columns, strict=True)


def to_json(table: pa.Table) -> str:
    """Return the text of `json_rows`."""
    return "".join(json_rows(table))


def to_csv(table: pa.Table) -> str:
    """Return the text of `csv_rows`."""
    return "".join(csv_rows(table))


def to_json_object(record: Any) -> str:
    """Return a dataclass as a JSON object over several lines, with the values of `json_rows`."""
    return _json(_plain(dataclasses.asdict(record)), indent=2)


def json_rows(table: pa.Table) -> Iterator[str]:
    """Yield a JSON array with one object per line, row by row.

    NaN and infinities become null and dates ISO text. A repeated column `a` becomes `a_1`. Control
    characters and those that change the direction of text are escaped.
    """
    separator = "["
    for row in _json_objects(table):
        yield f"{separator}\n  {row}"
        separator = ","
    yield "[\n]\n" if separator == "[" else "\n]\n"


def json_lines(table: pa.Table) -> Iterator[str]:
    """Yield one JSON object per row and line, with the values of `json_rows`."""
    for row in _json_objects(table):
        yield f"{row}\n"


def csv_rows(table: pa.Table) -> Iterator[str]:
    r"""Yield CSV, row by row, after a header line; NULL is empty, lists and structs are JSON.

    Control characters are written as `\xNN`, and a text that a spreadsheet would execute as
    a formula begins with an apostrophe.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for row in chain([table.column_names], values(table)):
        writer.writerow(map(_cell, row))
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _json_objects(table: pa.Table) -> Iterator[str]:
    names = distinct_names(table.column_names)
    for row in values(table):
        yield _json(_plain(dict(zip(names, row, strict=True))))


def _python_values(name: str, column: Any) -> list[Any]:
    """Convert a column to Python values.

    Raises:
        ConfigError: A value does not exist in Python, such as a date after the year 9999, or a map
            whose keys are lists.
    """
    try:
        converted: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        raise ConfigError(
            f"column '{name}' has a value that cannot be shown ({error}):"
            f" cast it, as in CAST({name} AS VARCHAR)"
        ) from error
    return converted


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, list, Mapping)):
        return _json(_plain(value))
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return f"'{visible(value)}" if FORMULA.match(value) else visible(value)
    return value


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return HIDDEN_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain(value: Any) -> Any:
    """Convert a value to one that JSON can represent."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    # Integral decimals, such as sums of integers, become whole numbers.
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names, with the first free number appended to every repeated one."""
    # The keys of a dictionary are ordered, and fast to search in a result with many columns.
    distinct: dict[str, None] = {}
    for name in names:
        candidate = name
        number = 0
        while candidate in distinct:
            number += 1
            candidate = f"{name}_{number}"
        distinct[candidate] = None
    return list(distinct)
