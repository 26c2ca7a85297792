"""Helpers for the rows of a dataset."""

import operator
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

__all__ = ["by_trace_id", "column"]


class _HasTraceId(Protocol):
    @property
    def trace_id(self) -> str: ...


Row = TypeVar("Row", bound=_HasTraceId)


def column(rows: Iterable[Any], name: str) -> list[Any]:
    """Return one field of all rows, in order. A dotted name selects a field of a field."""
    return list(map(operator.attrgetter(name), rows))


def by_trace_id(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows by trace id."""
    return {row.trace_id: row for row in rows}
