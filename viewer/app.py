"""The application: the routes of the pages, and what each of them shows."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stepmark.errors import ConfigError, StepmarkError
from stepmark.records import Discovered, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED
from storage.queries.isolated import column_of_query
from storage.queries.trace_summary import SummaryReader, TraceSummary
from viewer.access import Access, Guard
from viewer.figures import Figures, figures, gold_methods
from viewer.memory import Memory
from viewer.prefix_tree import Leaf, branches
from viewer.rendering import render
from viewer.selection import LABEL, QUEUES, SORTS, Selection, parse
from viewer.trace_list import PAGE_ROWS, facet_counts, list_traces, neighbours
from viewer.trace_records import (
    TraceRecords,
    read_critiques,
    read_rollouts,
    read_siblings,
    read_trace,
)
from viewer.trace_view import evidence, method_columns, step_rows

__all__ = ["create_app"]

# A query of a person in front of a page.
QUERY_SECONDS = 30.0
QUERY_MIB = 512
MAX_SELECTED = 1_000_000
# How many results are remembered: the pages of a few people.
REMEMBERED_FIGURES = 16
# Each can have some 30 MB of ids.
REMEMBERED_SELECTIONS = 4
ROLLOUTS_PER_PAGE = 20
# A number in an address with more digits counts nothing.
MAX_DIGITS = 12
# The first reading of a large dataset takes seconds, in a bucket minutes.
PATIENCE_SECONDS = 1.5


class Pages:
    """The pages of one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.reader = SummaryReader(dataset)
        # One thread, so that requests wait for the same reading.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="summary")
        self._figures = Memory[Figures](REMEMBERED_FIGURES)
        self._selected = Memory[Any](REMEMBERED_SELECTIONS)

    async def overview(self, request: Request) -> Response:
        """Show the figures of the dataset."""
        return await self._page(self._overview, request)

    def _overview(self, request: Request) -> Response:
        summary = self.reader.read()
        parameters = request.query_params
        golds = gold_methods(summary)
        gold = parameters.get("gold", golds[0] if golds else "")
        source = parameters.get("of", "")
        if not source:
            has_labels = summary.rows("SELECT count(kept) FROM summary")[0][0]
            source = LABEL if has_labels or not summary.methods else summary.methods[0]
        key = (summary.version, source, gold)
        context = {
            "figures": self._figures.get(key, lambda: figures(summary, source=source, gold=gold)),
            "golds": golds,
            "problems": self.dataset.count(PROBLEMS),
            "rejected": self.dataset.count(REJECTED),
            "version": summary.version,
        }
        # A page that polls gets nothing while the parts stay the same, and then only its content.
        if parameters.get("version") == summary.version:
            return Response(status_code=204)
        name = "_overview.html" if "version" in parameters else "overview.html"
        return render(name, self._context("overview", **context))

    async def traces(self, request: Request) -> Response:
        """List the selected traces."""
        return await self._page(self._traces, request)

    def _traces(self, request: Request) -> Response:
        summary = self.reader.read()
        selection = parse(request.query_params, summary)
        summary = self._narrowed(summary, selection)
        page = max(1, _number(request.query_params.get("page", "")) or 1)
        total, rows = list_traces(summary, selection, page)
        return render(
            "traces.html",
            self._context(
                "traces",
                selection=selection,
                total=total,
                rows=rows,
                page=page,
                pages=max(1, -(-total // PAGE_ROWS)),
                first_place=(page - 1) * PAGE_ROWS,
                methods=summary.methods,
                facets=facet_counts(summary, selection),
                queues=QUEUES,
                sorts=SORTS,
            ),
        )

    async def trace(self, request: Request) -> Response:
        """Show one trace with all that is known about its steps."""
        return await self._page(self._trace, request)

    def _trace(self, request: Request) -> Response:
        summary = self.reader.read()
        records = self._records(request, summary)
        selection = parse(request.query_params, summary)
        place = _number(request.query_params.get("place", ""))
        before, after = None, None
        if place is not None:
            before, after = neighbours(self._narrowed(summary, selection), selection, place)
        return render(
            "trace.html",
            self._context(
                "traces",
                records=records,
                columns=method_columns(records),
                rows=step_rows(records),
                siblings=read_siblings(self.dataset, records),
                selection=selection,
                place=place,
                before=before,
                after=after,
            ),
        )

    async def step(self, request: Request) -> Response:
        """Show the evidence about one step, as a part of the page of its trace."""
        return await self._page(self._step, request)

    def _step(self, request: Request) -> Response:
        records = self._records(request, self.reader.read())
        number = _number(request.path_params["number"])
        if number is None or not 1 <= number <= len(records.trace.steps):
            raise HTTPException(404, "the trace has no such step")
        trace_id = records.trace.trace_id
        found = evidence(
            records,
            number - 1,
            read_rollouts(self.dataset, records.shard, [trace_id]),
            read_critiques(self.dataset, records.shard, trace_id),
        )
        start = max(0, (_number(request.query_params.get("from", "")) or 1) - 1)
        return render(
            "_evidence.html",
            self._context(
                "traces",
                trace_id=trace_id,
                evidence=found,
                start=start,
                end=start + ROLLOUTS_PER_PAGE,
            ),
        )

    async def tree(self, request: Request) -> Response:
        """Show the prefix tree of the problem of a trace, as a part of its page."""
        return await self._page(self._tree, request)

    def _tree(self, request: Request) -> Response:
        records = self._records(request, self.reader.read())
        traces = dict[str, Trace]()
        for sibling in read_siblings(self.dataset, records):
            traces[sibling.trace.trace_id] = sibling.trace
        leaves = [Leaf.of_trace(trace) for trace in traces.values()]
        # A discovered trace is one of the rollouts, which must not count twice.
        counted = {trace.rollout_id for trace in traces.values() if isinstance(trace, Discovered)}
        for rollout in read_rollouts(self.dataset, records.shard, traces):
            if rollout.rollout_id not in counted:
                leaves.append(Leaf.of_rollout(traces[rollout.trace_id], rollout))
        tree, is_cut = branches(leaves)
        return render(
            "_tree.html",
            self._context("traces", branches=tree, is_cut=is_cut, trace_id=records.trace.trace_id),
        )

    def _records(self, request: Request, summary: TraceSummary) -> TraceRecords:
        records = read_trace(self.dataset, summary, request.path_params["trace_id"])
        if records is None:
            raise HTTPException(404, "the dataset has no such trace")
        return records

    def _narrowed(self, summary: TraceSummary, selection: Selection) -> TraceSummary:
        """Return the traces that the text and the SQL of a selection select."""
        if selection.text:
            summary = summary.with_text(selection.text)
        if not selection.sql:
            return summary
        trace_ids = self._selected.get(
            (summary.version, selection.sql),
            lambda: column_of_query(
                self.dataset,
                selection.sql,
                "trace_id",
                timeout_s=QUERY_SECONDS,
                memory_mib=QUERY_MIB,
                max_rows=MAX_SELECTED,
            ),
        )
        return summary.with_ids(trace_ids)

    def _context(self, page_name: str, **context: Any) -> Mapping[str, Any]:
        return {"page_name": page_name, "dataset": self.dataset.uri, "label": LABEL, **context}

    async def _page(self, answer: Callable[[Request], Response], request: Request) -> Response:
        """Answer a request in a thread; errors of the dataset or the address become a page."""
        try:
            reading = self._reading.submit(self.reader.read)
            # A part of a page cannot say that the server is still reading.
            is_part = "hx-request" in request.headers
            patience = None if is_part else PATIENCE_SECONDS
            await asyncio.to_thread(wait, [reading], patience)
            if not reading.done():
                return self._still_reading()
            return await asyncio.to_thread(answer, request)
        except ConfigError as error:
            return self._error(400, str(error))
        except HTTPException as error:
            return self._error(error.status_code, error.detail)
        except StepmarkError as error:
            return self._error(500, str(error))

    def _still_reading(self) -> Response:
        """Show how much has been read; browsers then ask for the same page again."""
        context = self._context(
            "", shards=self.reader.shards_to_read, shards_read=self.reader.shards_read
        )
        response = render("reading.html", context, 503)
        response.headers["Refresh"] = "1"
        return response

    def _error(self, status: int, message: str) -> Response:
        return render("error.html", self._context("", status=status, message=message), status)

    async def not_found(self, request: Request, error: Exception) -> Response:
        """Show that there is no such page."""
        del request, error
        return self._error(404, "there is no such page")


def create_app(dataset: Dataset, access: Access) -> Starlette:
    """Return the application that serves the pages of a dataset.

    Args:
        dataset: The dataset.
        access: Who may request the pages.
    """
    pages = Pages(dataset)
    return Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/traces", pages.traces),
            Route("/traces/{trace_id:path}/steps/{number}", pages.step),
            Route("/traces/{trace_id:path}/tree", pages.tree),
            # Last: an id can contain slashes.
            Route("/traces/{trace_id:path}", pages.trace),
            Mount("/static", StaticFiles(packages=[("viewer", "static")])),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={404: pages.not_found},
    )


def _number(text: str) -> int | None:
    """Return a number from an address; None if it is none, or larger than any dataset."""
    is_number = text.isascii() and text.isdigit() and len(text) < MAX_DIGITS
    return int(text) if is_number else None
