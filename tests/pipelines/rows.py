"""Helpers for the rows of a dataset."""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

__all__ = ["by_trace_id", "counts_by_name"]


class _HasTraceId(Protocol):
    @property
    def trace_id(self) -> str: ...


Row = TypeVar("Row", bound=_HasTraceId)


def by_trace_id(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows by trace id."""
    return {row.trace_id: row for row in rows}


def counts_by_name(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the counts of a summary or of an estimate by what they count."""
    return {row["what"]: row["count"] for row in rows}
