"""Pages without a server: the overview, the list and the traces of a selection, as HTML.

A server loads the evidence about a step and the prefix tree on request. Here a page contains them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from markupsafe import Markup

from stepmark.errors import ConfigError, DatasetError
from stepmark.secrets import REDACTED, without_secrets
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED
from storage.queries.isolated import column_of_query
from storage.queries.trace_summary import SummaryReader, TraceSummary
from viewer.figures import default_source, figures, gold_methods
from viewer.links import Links
from viewer.nearby_shard import NearbyShard
from viewer.prefix_tree import branches, read_leaves
from viewer.rendering import render_text
from viewer.selection import LABEL, QUEUES, SORTS, Condition, Selection, parse
from viewer.trace_list import PAGE_ROWS, Row, list_traces
from viewer.trace_records import (
    TraceRecords,
    read_critiques,
    read_rollouts,
    read_siblings,
    read_trace,
)
from viewer.trace_view import evidence, method_columns, step_rows

__all__ = ["STATIC_FOLDER", "Choice", "StaticPages", "choose", "dataset_name"]

STATIC_FOLDER = Path(__file__).with_name("static")
"""The style, the scripts and the fonts of the pages."""
# More time and memory than the query of a page has, because no browser waits for the answer.
QUERY_SECONDS = 300.0
QUERY_MIB = 512
# The limit of the pages of a server.
MAX_SELECTED = 1_000_000
# As on the pages of a server, where the others are shown on request.
SIBLINGS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The traces that are copied."""

    selection: Selection
    """What selects them; its limit is their number."""
    selected: int
    """How many traces the selection has without that limit."""
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticPages:
    """The pages of some traces of a dataset.

    Args:
        dataset: The dataset.
        nearby: What has the parts of its shards.
        summary: Its traces.
        choice: The traces that have pages.
        links: The addresses of these pages.
        layout: The template around the content of a page.
        policy: The content security policy of a page.
    """

    dataset: Dataset
    nearby: NearbyShard
    summary: TraceSummary
    choice: Choice
    links: Links
    layout: str
    policy: str = ""

    def overview(self) -> Markup:
        """Return the overview of the whole dataset."""
        golds = gold_methods(self.summary)
        gold = next(iter(golds), "")
        source = default_source(self.summary)
        return self.render(
            "overview.html",
            figures=figures(self.summary, source=source, gold=gold),
            golds=golds,
            problems=self.dataset.count(PROBLEMS),
            rejected=self.dataset.count(REJECTED),
            lists_all=self.choice.selected == self.summary.table.num_rows,
        )

    def list_page(self, page: int, page_rows: int = PAGE_ROWS) -> Markup:
        """Return a page of the list, from 1."""
        start = (page - 1) * page_rows
        total = len(self.choice.rows)
        return self.render(
            "traces.html",
            selection=self.choice.selection,
            total=total,
            selected=self.choice.selected,
            rows=self.choice.rows[start : start + page_rows],
            page=page,
            pages=page_count(total, page_rows),
            first_position=start,
            methods=self.summary.methods,
            queues=QUEUES,
            sorts=SORTS,
        )

    def numbers(self) -> Sequence[int]:
        """Return the numbers of the traces in the list, those of one shard one after the other."""
        return sorted(range(len(self.choice.rows)), key=self._shard)

    def trace(self, number: int, *, anchor: str = "", has_siblings: bool = True) -> Markup:
        """Return the page of a trace of the list.

        Args:
            number: The number of the trace in the list, from 0.
            anchor: What the ids of the elements begin with.
            has_siblings: Whether the page has all solutions of the problem and their prefix tree.

        Raises:
            DatasetError: A part is damaged, or was removed meanwhile.
        """
        dataset = self.nearby.dataset_of(self._shard(number))
        records = self._records(dataset, number)
        trace_id = records.trace.trace_id
        rollouts = read_rollouts(dataset, records.shard, [trace_id])
        critiques = read_critiques(dataset, records.shard, trace_id)
        rows = step_rows(records)
        problem_context: Mapping[str, Any] = {"siblings": (), "sibling_count": 0, "branches": ()}
        if has_siblings:
            problem_context = self._siblings(dataset, records)
        return self.render(
            "trace.html",
            records=records,
            columns=method_columns(records),
            rows=rows,
            evidence_of_steps=[evidence(records, row.index, rollouts, critiques) for row in rows],
            selection=self.choice.selection,
            position=number,
            before=self._trace_id(number - 1),
            after=self._trace_id(number + 1),
            anchor=anchor,
            **problem_context,
        )

    def render(self, template: str, **context: Any) -> Markup:
        """Return the HTML of a template with the variables that all pages have."""
        common: Mapping[str, Any] = {
            "dataset": dataset_name(self.dataset.uri),
            "label": LABEL,
            "links": self.links,
            "is_static": True,
            "can_label": False,
            "layout": self.layout,
            "policy": self.policy,
        }
        return render_text(template, {**common, **context})

    def _shard(self, number: int) -> int:
        row = self.summary.row_of(self.choice.rows[number].trace_id)
        assert row is not None, "a listed trace is in the summary"
        shard: int = row["shard"]
        return shard

    def _records(self, dataset: Dataset, number: int) -> TraceRecords:
        records = read_trace(dataset, self.summary, self.choice.rows[number].trace_id)
        if records is None:
            raise DatasetError(f"{self.dataset.uri} has changed while it was copied: try again")
        return records

    def _siblings(self, dataset: Dataset, records: TraceRecords) -> Mapping[str, Any]:
        siblings = read_siblings(dataset, records)
        tree, is_cut = branches(read_leaves(dataset, records))
        return {
            "siblings": siblings[:SIBLINGS_SHOWN],
            "sibling_count": len(siblings),
            "branches": tree,
            "is_cut": is_cut,
        }

    def _trace_id(self, number: int) -> str | None:
        if 0 <= number < len(self.choice.rows):
            return self.choice.rows[number].trace_id
        return None


def choose(
    dataset: Dataset,
    limit: int | None,
    *,
    where: str = "",
    queue: str = "",
    trace_ids: Sequence[str] = (),
) -> tuple[TraceSummary, Choice]:
    """Return the traces of a dataset, and those of them that are copied.

    Args:
        dataset: The dataset.
        limit: The number of copied traces at most; None for all that are selected.
        where: A SELECT with the column trace_id; "" for all traces.
        queue: One of the queues of the list; "" for all traces.
        trace_ids: The ids of the traces; all if there are none.

    Raises:
        ConfigError: The query or the queue is invalid, or the dataset does not have a trace.
        DatasetError: The dataset is missing, or a part is damaged.
    """
    summary = SummaryReader(dataset).read()
    selection = parse({"queue": queue, "sql": where}, summary)
    narrowed = summary
    if where:
        answer = column_of_query(
            dataset,
            where,
            "trace_id",
            timeout_s=QUERY_SECONDS,
            memory_mib=QUERY_MIB,
            max_rows=MAX_SELECTED,
        )
        narrowed = summary.with_ids(answer)
    if trace_ids:
        selection = _with_ids(selection, trace_ids, summary)
    selected, _ = list_traces(narrowed, selection, 1)
    if limit is not None:
        selection = replace(selection, limit=min(limit, selected))
    return summary, Choice(
        selection=selection, selected=selected, rows=list(_all_rows(narrowed, selection))
    )


def page_count(total: int, page_rows: int) -> int:
    """Return the number of pages of a list, at least 1."""
    return max(1, math.ceil(total / page_rows))


def dataset_name(uri: str) -> str:
    """Return the last part of a location: a copy is given to people who need not know the rest.

    Without a path that is the host, without its user and password.
    """
    path = Path(uri).resolve().as_posix()
    if "://" in uri:
        path = without_secrets(uri).rpartition("://")[2].partition("?")[0]
    return PurePosixPath(path).name.removeprefix(f"{REDACTED}@") or "dataset"


def _with_ids(selection: Selection, trace_ids: Sequence[str], summary: TraceSummary) -> Selection:
    for trace_id in trace_ids:
        if summary.row_of(trace_id) is None:
            raise ConfigError(f"the dataset has no trace {trace_id}: see `stepmark show --where`")
    condition = Condition("list_contains(?, trace_id)", (list(trace_ids),))
    return replace(selection, where=condition)


def _all_rows(summary: TraceSummary, selection: Selection) -> Iterator[Row]:
    page = 1
    while True:
        total, rows = list_traces(summary, selection, page)
        yield from rows
        if page >= page_count(total, PAGE_ROWS):
            return
        page += 1
