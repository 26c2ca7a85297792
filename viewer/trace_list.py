"""The list of traces: one page of the selected ones, and how many have each value of a facet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepmark.records import NO_ERROR
from storage.queries.trace_summary import TraceSummary
from viewer.selection import LABEL, Selection, column

__all__ = ["PAGE_ROWS", "Facet", "Row", "facet_counts", "list_traces", "neighbours"]

PAGE_ROWS = 50
# The facets whose values are counted next to the list, with their columns.
COUNTED = {
    "outcome": "outcome",
    "kept": "CASE kept WHEN true THEN 'yes' WHEN false THEN 'no' ELSE 'unlabelled' END",
    "domain": "domain",
    "source": "source",
    "model": "model",
    "found_by": "found_by",
}
# More values of a facet do not fit beside the list.
MAX_VALUES = 12
COLUMNS = (
    "trace_id",
    "problem_id",
    "question",
    "outcome",
    "steps",
    "model",
    "kept",
    "first_error",
    "confidence",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The first error of a trace according to one source."""

    verdict: str
    """correct, incorrect, unknown, failed, or "" without an annotation."""
    first_error: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace of a list."""

    trace_id: str
    question: str
    outcome: str
    steps: int
    model: str
    kept: bool | None
    confidence: float | None
    label: Mark
    marks: Sequence[Mark]
    """What the methods say, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """The values of a facet among the selected traces, the most frequent first."""

    name: str
    values: Sequence[tuple[str, int]]


def list_traces(
    summary: TraceSummary, selection: Selection, page: int
) -> tuple[int, Sequence[Row]]:
    """Return the number of the selected traces, and those of one page.

    Args:
        summary: The traces that the text and the SQL of the selection select.
        selection: Which of them are listed.
        page: The number of the page, from 1.
    """
    where = selection.where
    total = summary.rows(f"SELECT count(*) FROM summary WHERE {where.sql}", where.parameters)[0][0]
    if selection.limit is not None:
        total = min(total, selection.limit)
    start = (page - 1) * PAGE_ROWS
    count = max(0, min(PAGE_ROWS, total - start))
    names = [*COLUMNS]
    for method in summary.methods:
        for name in ("annotated", "failed", "first_error"):
            names.append(column(method, name, summary))
    rows = []
    for values in _ordered(summary, selection, ", ".join(names), start, count):
        rows.append(_row(dict(zip(names, values, strict=True)), summary))
    return total, rows


def neighbours(
    summary: TraceSummary, selection: Selection, position: int
) -> tuple[str | None, str | None]:
    """Return the ids of the traces before and after a position in a selection, from 0."""
    start = max(0, position - 1)
    ids = [row[0] for row in _ordered(summary, selection, "trace_id", start, 3)]
    before: str | None = None
    after: str | None = None
    if 0 < position <= start + len(ids):
        before = ids[0]
    index_after = position + 1 - start
    is_last = selection.limit is not None and position + 1 >= selection.limit
    if index_after < len(ids) and not is_last:
        after = ids[index_after]
    return before, after


def facet_counts(summary: TraceSummary, selection: Selection) -> Sequence[Facet]:
    """Return the facets that divide the selected traces."""
    # All facets in one pass over the traces: a row has the value of one facet, and the others NULL.
    names = list(COUNTED)
    columns = ", ".join(f"{expression} AS facet_{name}" for name, expression in COUNTED.items())
    sets = ", ".join(f"(facet_{name})" for name in names)
    numbers = ", ".join(f"GROUPING(facet_{name})" for name in names)
    values = ", ".join(f"facet_{name}" for name in names)
    rows = summary.rows(
        f"SELECT [{numbers}], [{values}], count(*) AS number"
        f" FROM (SELECT {columns} FROM summary WHERE {selection.where.sql})"
        f" GROUP BY GROUPING SETS ({sets}) ORDER BY number DESC",
        selection.where.parameters,
    )
    counts = {name: list[tuple[str, int]]() for name in names}
    for is_other, row_values, count in rows:
        facet_index = is_other.index(0)
        value = row_values[facet_index]
        if value:
            counts[names[facet_index]].append((value, count))
    facets = []
    for name, entries in counts.items():
        if len(entries) > 1 or name in selection.facets:
            facets.append(Facet(name=name, values=sorted(entries, key=_rank)[:MAX_VALUES]))
    return facets


def _rank(entry: tuple[str, int]) -> tuple[int, str]:
    value, count = entry
    return -count, value


def _ordered(
    summary: TraceSummary,
    selection: Selection,
    columns: str,
    start: int,
    count: int,
) -> Sequence[tuple[Any, ...]]:
    order = ""
    if selection.order:
        # Without the id, traces that tie could change places between two pages.
        order = f" ORDER BY {selection.order}, trace_id"
    return summary.rows(
        f"SELECT {columns} FROM summary WHERE {selection.where.sql}{order}"
        f" LIMIT {int(count)} OFFSET {int(start)}",
        selection.where.parameters,
    )


def _row(values: Mapping[str, Any], summary: TraceSummary) -> Row:
    marks = []
    for method in summary.methods:
        marks.append(
            _mark(
                values[column(method, "first_error", summary)],
                is_present=bool(values[column(method, "annotated", summary)]),
                has_failed=bool(values[column(method, "failed", summary)]),
            )
        )
    return Row(
        trace_id=values["trace_id"],
        question=values["question"] or "",
        outcome=values["outcome"],
        steps=values["steps"],
        model=values["model"],
        kept=values["kept"],
        confidence=values["confidence"],
        label=_mark(
            values[column(LABEL, "first_error", summary)], is_present=values["kept"] is not None
        ),
        marks=marks,
    )


def _mark(first_error: int | None, *, is_present: bool, has_failed: bool = False) -> Mark:
    verdict = "unknown"
    if not is_present:
        verdict = ""
    elif has_failed:
        verdict = "failed"
    elif first_error == NO_ERROR:
        verdict = "correct"
    elif first_error is not None:
        verdict = "incorrect"
    return Mark(verdict=verdict, first_error=first_error)
