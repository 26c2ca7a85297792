"""The answer to a query as JSON or CSV text. A table for people to look at is the command line's job."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa

from stepmark.errors import ConfigError

__all__ = ["to_csv", "to_json", "values"]


def values(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows as Python values, in the order of `table.column_names`, which may repeat; maps are dictionaries."""
    for batch in table.to_batches():
        columns = (
            _python(name, column)
            for name, column in zip(table.column_names, batch.columns, strict=True)
        )
        yield from zip(*columns, strict=True)


def to_json(table: pa.Table) -> str:
    """An array with one object per line; NaN and infinities become null, a repeated column `a` becomes `a_1`, dates ISO text."""
    names = _distinct(table.column_names)
    lines = (
        json.dumps(_plain(dict(zip(names, row, strict=True))), ensure_ascii=False)
        for row in values(table)
    )
    return "[" + ",".join(f"\n  {line}" for line in lines) + "\n]\n"


def to_csv(table: pa.Table) -> str:
    """A header and one line per row; NULL is empty, lists and structs are JSON."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(map(_cell, row) for row in values(table))
    return out.getvalue()


def _python(name: str, column: Any) -> list[Any]:
    """A date after the year 9999, or a map whose keys are lists, has no value in Python."""
    try:
        found: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        raise ConfigError(
            f"column '{name}' holds what cannot be shown ({error}): cast it, as in CAST({name} AS VARCHAR)"
        ) from error
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, list, Mapping)):
        return json.dumps(_plain(value), ensure_ascii=False)
    return value.hex() if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _distinct(names: Sequence[str]) -> list[str]:
    taken: dict[str, None] = {}
    for name in names:
        candidates = (f"{name}_{number}" if number else name for number in count())
        taken[next(free for free in candidates if free not in taken)] = None
    return list(taken)
