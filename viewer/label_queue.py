"""The queue of a rater: the selected traces, without those that only another rater is given."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from storage.queries.trace_summary import TraceSummary
from viewer.selection import Selection

__all__ = ["Assignment", "Progress", "Stop", "next_stop", "progress"]

# The first hexadecimal digits of the MD5 of a trace id, which is the same in every version.
SHARE_DIGITS = 8
# After every hexadecimal digit.
ABOVE_ALL = "g"
FINISHED = "trace_id IN (SELECT unnest(?::VARCHAR[]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which traces of a queue a rater is given."""

    finished: Collection[str]
    """The traces that the rater has finished."""
    taken: Collection[str] = ()
    """The traces that another rater has begun."""
    overlap: float = 1.0
    """The share of the traces that are given to every rater, chosen by the ids of the traces."""

    @property
    def threshold(self) -> str:
        """The text below which the digest of a trace id is in the overlap."""
        if self.overlap >= 1:
            return ABOVE_ALL
        return f"{int(self.overlap * 16**SHARE_DIGITS):0{SHARE_DIGITS}x}"


class Progress(NamedTuple):
    """How much of a queue a rater has finished."""

    finished: int
    total: int


class Stop(NamedTuple):
    """A trace of a queue, and its position in the selection."""

    trace_id: str
    position: int


def progress(summary: TraceSummary, selection: Selection, assignment: Assignment) -> Progress:
    """Return how many traces of a queue a rater has finished, and how many it has."""
    is_given_sql, given_values = _given(assignment)
    source = f"summary WHERE {selection.where.sql}"
    source_values: list[object] = [*selection.where.parameters]
    if selection.limit is not None:
        # Which traces they are depends on the order.
        positions, source_values = _positions(selection)
        source = f"({positions})"
    rows = summary.rows(
        "SELECT count(*) FILTER (is_finished), count(*) FILTER (is_finished OR is_given) FROM"
        f" (SELECT {FINISHED} AS is_finished, {is_given_sql} AS is_given FROM {source})",
        [list(assignment.finished), *given_values, *source_values],
    )
    return Progress(*rows[0])


def next_stop(
    summary: TraceSummary, selection: Selection, assignment: Assignment, after: int = -1
) -> Stop | None:
    """Return the next trace to label after a position, or else the first; None if there is none.

    Args:
        summary: The traces that the text and the SQL of the selection select.
        selection: Which of them are in the queue.
        assignment: Which of those the rater is given.
        after: A position in the selection.
    """
    is_given_sql, given_values = _given(assignment)
    positions, source_values = _positions(selection)
    rows = summary.rows(
        f"SELECT trace_id, position FROM ({positions}) WHERE NOT {FINISHED} AND ({is_given_sql})"
        " ORDER BY position <= ?, position LIMIT 1",
        [*source_values, list(assignment.finished), *given_values, after],
    )
    return Stop(*rows[0]) if rows else None


def _given(assignment: Assignment) -> tuple[str, Sequence[object]]:
    """Return the condition that a rater is given a trace, and its parameters."""
    if not assignment.taken:
        return "true", ()
    condition = (
        "trace_id NOT IN (SELECT unnest(?::VARCHAR[]))"
        f" OR substr(md5(trace_id), 1, {SHARE_DIGITS}) < ?"
    )
    return condition, (list(assignment.taken), assignment.threshold)


def _positions(selection: Selection) -> tuple[str, list[object]]:
    """Return a query for the traces of a selection with their positions, and its parameters."""
    order = ""
    if selection.order:
        # As in the list of traces.
        order = f"ORDER BY {selection.order}, trace_id"
    sql = (
        f"SELECT trace_id, row_number() OVER ({order}) - 1 AS position FROM summary"
        f" WHERE {selection.where.sql}"
    )
    parameters: list[object] = [*selection.where.parameters]
    if selection.limit is not None:
        sql = f"SELECT trace_id, position FROM ({sql}) WHERE position < ?"
        parameters.append(selection.limit)
    return sql, parameters
