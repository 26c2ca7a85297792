"""The application: the routes of the pages, and what each of them shows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from stepmark.errors import ConfigError, StepmarkError
from stepmark.secrets import redact_urls, without_secrets
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED
from storage.queries.isolated import column_of_query
from storage.queries.trace_summary import SummaryReader, TraceSummary
from viewer.access import Access, Guard
from viewer.figures import Figures, default_source, figures, gold_methods
from viewer.labelling import Labelling, LabelPages
from viewer.links import ServerLinks, trace_id_of
from viewer.memory import Memory
from viewer.prefix_tree import branches, read_leaves
from viewer.rendering import compile_templates, render
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
# The ids of a selection are kept in memory, some 30 bytes each.
MAX_SELECTED = 1_000_000
# How many results are remembered: the pages of a few people.
REMEMBERED_FIGURES = 16
# Few, because each can have a million ids.
REMEMBERED_SELECTIONS = 4
# A rollout is shown with its full text, so that many of them would make a long page.
ROLLOUTS_PER_PAGE = 20
# More solutions are shown on request.
SIBLINGS_SHOWN = 12
# A number in an address with more digits counts nothing.
MAX_DIGITS = 12
# The first reading of a large dataset takes seconds, in a bucket minutes.
PATIENCE_SECONDS = 1.5


class StillReadingError(Exception):
    """The traces are still being read, and the answer must not wait for them."""


class Pages:
    """The pages of one dataset. Starlette calls the methods in threads."""

    def __init__(self, dataset: Dataset, *, can_label: bool = False) -> None:
        self.dataset = dataset
        self.can_label = can_label
        self.reader = SummaryReader(dataset)
        # One thread, so that requests wait for the same reading.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="summary")
        self._figures = Memory[Figures](REMEMBERED_FIGURES)
        self._selected = Memory[Any](REMEMBERED_SELECTIONS)

    def prepare(self) -> None:
        """Start to read the traces and to compile the templates, before the first request."""
        self._reading.submit(self.reader.read)
        self._reading.submit(compile_templates)

    def overview(self, request: Request) -> Response:
        """Show the figures of the dataset."""
        summary = self._summary(request)
        parameters = request.query_params
        # A page that polls gets nothing while the parts stay the same, and then only its content.
        template = "overview.html"
        if "version" in parameters:
            template = "_overview.html"
            if parameters["version"] == summary.version:
                return Response(status_code=204)
        golds = gold_methods(summary)
        gold = parameters.get("gold", next(iter(golds), ""))
        source = parameters.get("of") or default_source(summary)
        current_figures = self._figures.get(
            (summary.version, source, gold), lambda: figures(summary, source=source, gold=gold)
        )
        return self._render(
            template,
            figures=current_figures,
            golds=golds,
            problems=self.dataset.count(PROBLEMS),
            rejected=self.dataset.count(REJECTED),
            version=summary.version,
        )

    def traces(self, request: Request) -> Response:
        """List the selected traces."""
        summary = self._summary(request)
        selection = parse(request.query_params, summary)
        narrowed = self._narrowed(summary, selection)
        page = max(1, _number(request.query_params.get("page", "")) or 1)
        total, rows = list_traces(narrowed, selection, page)
        return self._render(
            "traces.html",
            selection=selection,
            total=total,
            rows=rows,
            page=page,
            pages=max(1, -(-total // PAGE_ROWS)),
            first_position=(page - 1) * PAGE_ROWS,
            methods=summary.methods,
            facets=facet_counts(narrowed, selection),
            queues=QUEUES,
            sorts=SORTS,
        )

    def trace(self, request: Request) -> Response:
        """Show one trace with the verdicts on its steps."""
        summary = self._summary(request)
        records = self._records(request, summary)
        selection = parse(request.query_params, summary)
        position = _number(request.query_params.get("place", ""))
        before: str | None = None
        after: str | None = None
        if position is not None:
            before, after = neighbours(self._narrowed(summary, selection), selection, position)
        siblings = read_siblings(self.dataset, records)
        sibling_count = len(siblings)
        if "all" not in request.query_params:
            siblings = siblings[:SIBLINGS_SHOWN]
        return self._render(
            "trace.html",
            records=records,
            columns=method_columns(records),
            rows=step_rows(records),
            siblings=siblings,
            sibling_count=sibling_count,
            selection=selection,
            position=position,
            before=before,
            after=after,
        )

    def step(self, request: Request) -> Response:
        """Show the evidence about one step, as a part of the page of its trace."""
        records = self._records(request, self._summary(request))
        return self._evidence(request, records, ServerLinks())

    def _evidence(self, request: Request, records: TraceRecords, links: ServerLinks) -> Response:
        number = _number(request.path_params["number"])
        if number is None or not 1 <= number <= len(records.trace.steps):
            raise HTTPException(404, "the trace has no such step")
        trace_id = records.trace.trace_id
        step_evidence = evidence(
            records,
            number - 1,
            read_rollouts(self.dataset, records.shard, [trace_id]),
            read_critiques(self.dataset, records.shard, trace_id),
        )
        start = max(0, (_number(request.query_params.get("from", "")) or 1) - 1)
        return self._render(
            "_evidence.html",
            links=links,
            trace_id=trace_id,
            evidence=step_evidence,
            start=start,
            end=start + ROLLOUTS_PER_PAGE,
        )

    def tree(self, request: Request) -> Response:
        """Show the prefix tree of the problem of a trace, as a part of its page."""
        records = self._records(request, self._summary(request))
        tree, is_cut = branches(read_leaves(self.dataset, records))
        return self._render(
            "_tree.html", branches=tree, is_cut=is_cut, trace_id=records.trace.trace_id
        )

    def still_reading(self, request: Request, error: Exception) -> Response:
        """Show how much has been read; browsers then ask for the same page again."""
        del request, error
        response = self._render(
            "reading.html",
            503,
            shards=self.reader.shards_to_read,
            shards_read=self.reader.shards_read,
        )
        response.headers["Refresh"] = "1"
        return response

    def invalid(self, request: Request, error: Exception) -> Response:
        """Show what is wrong with an address."""
        del request
        return self._render("error.html", 400, title="The address is not valid", message=str(error))

    def not_found(self, request: Request, error: Exception) -> Response:
        """Show that a page does not exist."""
        del request
        message = getattr(error, "detail", "")
        return self._render("error.html", 404, title="Not found", message=message)

    def failed(self, request: Request, error: Exception) -> Response:
        """Show why the dataset cannot be read."""
        del request
        return self._render(
            "error.html", 500, title="The dataset cannot be read", message=redact_urls(str(error))
        )

    def _summary(self, request: Request) -> TraceSummary:
        reading = self._reading.submit(self.reader.read)
        patience: float | None = PATIENCE_SECONDS
        # A part of a page cannot say that the server is still reading.
        if "hx-request" in request.headers:
            patience = None
        wait([reading], patience)
        if not reading.done():
            raise StillReadingError
        return reading.result()

    def _records(self, request: Request, summary: TraceSummary) -> TraceRecords:
        records = read_trace(self.dataset, summary, trace_id_of(request))
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

    def _render(self, name: str, status: int = 200, **context: Any) -> Response:
        common: Mapping[str, Any] = {
            # Colleagues can open the pages, too.
            "dataset": without_secrets(self.dataset.uri),
            "label": LABEL,
            "links": ServerLinks(),
            "is_static": False,
            "can_label": self.can_label,
        }
        return render(name, {**common, **context}, status)


def create_app(dataset: Dataset, access: Access, labelling: Labelling | None = None) -> Starlette:
    """Return the application that serves the pages of a dataset.

    Args:
        dataset: The dataset.
        access: Who may request the pages.
        labelling: How people label; None for pages that only show the dataset.

    Returns:
        The application. Its `state.stop` is a function that ends the reading of the dataset.
    """
    pages = Pages(dataset, can_label=labelling is not None)
    label_routes: Sequence[BaseRoute] = ()
    if labelling is not None:
        label_routes = LabelPages(pages, labelling).routes()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pages.prepare()
        yield

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", pages.overview),
            Route("/traces", pages.traces),
            Route("/traces/{trace_id:path}/steps/{number}", pages.step),
            Route("/traces/{trace_id:path}/tree", pages.tree),
            # Last: an id can contain slashes.
            Route("/traces/{trace_id:path}", pages.trace),
            # The same pages of a trace whose id cannot be part of a path: see `ServerLinks`.
            Route("/trace", pages.trace),
            Route("/trace/steps/{number}", pages.step),
            Route("/trace/tree", pages.tree),
            *label_routes,
            Mount("/static", StaticFiles(packages=[("viewer", "static")])),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            404: pages.not_found,
            ConfigError: pages.invalid,
            StepmarkError: pages.failed,
            StillReadingError: pages.still_reading,
        },
    )
    app.state.stop = pages.reader.stop
    return app


def _number(text: str) -> int | None:
    """Return a number from an address; None if it is none, or larger than any dataset."""
    # `isdigit` alone accepts digits of other scripts.
    if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS:
        return int(text)
    return None
