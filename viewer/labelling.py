"""The pages on which people label traces: what a rater sees, and what is saved for each key."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stepmark.errors import ConfigError, StepmarkError
from stepmark.records import NO_ERROR, Annotation
from storage.dataset.tables import ORACLE, is_human
from storage.labelling.drafts import TraceLabel
from storage.labelling.events import Kind
from storage.labelling.label_store import (
    ChangedDraftError,
    LabelStore,
    LabelTarget,
    MissingMarksError,
)
from storage.labelling.raters import (
    ADJUDICATED,
    ADJUDICATOR,
    check_rater,
    method_of,
    rater_of,
)
from storage.queries.trace_summary import TraceSummary
from viewer.label_entries import Entry, body_of, parse_entry, parse_rater
from viewer.label_queue import Assignment, Progress, Stop, next_stop, progress
from viewer.links import LabelLinks, trace_id_of
from viewer.memory import Memory
from viewer.raters import Disagreement, RaterReport, rater_report
from viewer.selection import LABEL, Selection, parse
from viewer.trace_list import neighbours
from viewer.trace_records import TraceRecords
from viewer.trace_view import method_columns, step_rows

if TYPE_CHECKING:
    from viewer.app import Pages

__all__ = ["LabelPages", "Labelling"]

LINKS = LabelLinks()
BLIND = "blind"
VERIFY = "verify"
ADJUDICATE = "adjudicate"
MODES: Mapping[str, str] = {
    BLIND: "blind: without the labels of the machine",
    VERIFY: "verify: with the labels of the machine",
    ADJUDICATE: "adjudicate: with the labels of all raters",
}
COOKIE = "stepmark_rater"
# Raters come back to a dataset for weeks.
COOKIE_SECONDS = 365 * 24 * 3600
# A rater who has opened a trace and gone away keeps it from others for so long.
RESERVED_SECONDS = 1800.0
# While a run writes, finished labels wait for its end.
RETRY_SECONDS = 5.0
# What several raters look at.
REMEMBERED_TRACES = 32
# The status of an entry that could not be stored, although it is valid: the disk is full, say.
NOT_SAVED = 503


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How people label on the pages of a server."""

    store: LabelStore
    rater: str = ""
    """The rater of all requests; "" if each browser names its own."""
    overlap: float = 1.0
    """The share of the traces that are given to every rater."""


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """Who labels, in which mode, in which queue."""

    rater: str
    mode: str
    selection: Selection
    summary: TraceSummary
    position: int | None

    @property
    def query(self) -> str:
        """The query of the addresses of the same queue and mode."""
        return self.selection.query_string(mode=self.mode)


class LabelPages:
    """The pages for raters. Starlette calls the methods in threads."""

    def __init__(self, pages: "Pages", labelling: Labelling) -> None:
        self.pages = pages
        self.store = labelling.store
        self.rater = labelling.rater
        self.overlap = labelling.overlap
        self._records = Memory[TraceRecords](REMEMBERED_TRACES)
        self._reserved = dict[str, tuple[str, float]]()
        self._lock = threading.Lock()
        self._assigning = threading.Lock()
        self._is_retrying = False

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes of the pages."""
        return [
            Route("/label", self.start),
            Route("/label/next", self.next),
            Route("/label/rater", self.choose_rater, methods=["POST"]),
            Route("/label/traces/{trace_id:path}/steps/{number}", self.step),
            Route("/label/traces/{trace_id:path}", self.trace),
            Route("/label/traces/{trace_id:path}", self.save, methods=["POST"]),
            Route("/label/trace/steps/{number}", self.step),
            Route("/label/trace", self.trace),
            Route("/label/trace", self.save, methods=["POST"]),
            Route("/raters", self.raters),
        ]

    def start(self, request: Request) -> Response:
        """Show the queue and its progress, and ask for the name and the mode of the rater."""
        visit = self._visit(request)
        done: Progress | None = None
        on_other_steps: Mapping[str, str] = {}
        if visit.rater:
            done = self._progress(visit)
            on_other_steps = self.store.labels_on_other_steps(method_of(visit.rater))
        return self._render(
            "label_start.html",
            visit=visit,
            on_other_steps=on_other_steps,
            reasons=Counter(on_other_steps.values()).most_common(),
            modes=MODES,
            done=done,
            is_fixed=bool(self.rater),
            store=self.store,
            storing=self.store.store_finished(),
            overlap=self.overlap,
        )

    def next(self, request: Request) -> Response:
        """Lead to the next trace of the queue that the rater has not finished."""
        visit = self._visit(request)
        if not visit.rater:
            return RedirectResponse(f"/label?{visit.query}", 303)
        # Two raters who ask at the same moment must not get the same trace.
        with self._assigning:
            stop = self._next(visit)
            if stop is not None:
                with self._lock:
                    self._reserved[stop.trace_id] = (visit.rater, time.monotonic())
        if stop is None:
            return RedirectResponse(f"/label?{visit.query}&done=1", 303)
        return RedirectResponse(
            LINKS.label(stop.trace_id, f"{visit.query}&place={stop.position}"), 303
        )

    def trace(self, request: Request) -> Response:
        """Show a trace to label."""
        visit = self._visit(request)
        if not visit.rater:
            return RedirectResponse(f"/label?{visit.query}", 303)
        records = self._read(request, visit.summary)
        target = self._target(records, visit.rater, visit.mode)
        visible = self._shown(records, visit.mode)
        if visit.mode == ADJUDICATE:
            visit = replace(
                visit, position=self._position_of_dispute(visit, records.trace.trace_id)
            )
        before, after = self._neighbours(visit)
        position = "" if visit.position is None else visit.position
        next_query = visit.selection.query_string(mode=visit.mode, place=position)
        return self._render(
            "label.html",
            links=LINKS,
            next_address=f"/label/next?{next_query}",
            visit=visit,
            records=visible,
            columns=method_columns(visible),
            rows=step_rows(visible),
            state=self._state(target, self.store.label(target)),
            done=self._progress(visit),
            before=before,
            after=after,
            proposals=_proposals(visible),
            title=MODES[visit.mode],
        )

    def step(self, request: Request) -> Response:
        """Show the evidence about one step that a rater may see who verifies."""
        records = self._read(request, self.pages._summary(request))
        return self.pages._evidence(request, self._shown(records, VERIFY), LINKS)

    async def save(self, request: Request) -> Response:
        """Save an entry, and answer with the label of the trace."""
        try:
            body = await body_of(request)
        except HTTPException as error:
            return _problem(error.status_code, str(error.detail))
        return await run_in_threadpool(self._save, request, body)

    async def choose_rater(self, request: Request) -> Response:
        """Remember the name of the rater in a cookie of the browser."""
        try:
            body = await body_of(request)
            if self.rater:
                raise HTTPException(409, "the command names the rater")
            rater = check_rater(parse_rater(body))
        except HTTPException as error:
            return _problem(error.status_code, str(error.detail))
        except ConfigError as error:
            return _problem(400, str(error))
        response = JSONResponse({"rater": rater})
        response.set_cookie(
            _cookie(request), rater, max_age=COOKIE_SECONDS, httponly=True, samesite="strict"
        )
        return response

    def raters(self, request: Request) -> Response:
        """Show what raters have done, and how they agree."""
        report = rater_report(self.store)
        return self._render(
            "raters.html",
            report=report,
            disputes=_open_ones_first(report),
            questions=_questions(self.pages._summary(request), report),
            storing=self.store.store_finished(),
            store=self.store,
            rater_of=rater_of,
            adjudicate=ADJUDICATE,
        )

    def _save(self, request: Request, body: bytes) -> Response:
        try:
            entry = parse_entry(body)
            target, label = self._saved(request, entry)
        except ChangedDraftError as error:
            return _problem(409, str(error), state=self._state(error.target, error.label))
        except MissingMarksError as error:
            return _problem(422, str(error), missing=list(error.steps))
        except HTTPException as error:
            return _problem(error.status_code, str(error.detail))
        except ConfigError as error:
            return _problem(400, str(error))
        except StepmarkError as error:
            return _problem(NOT_SAVED, str(error))
        answer = self._state(target, label)
        if entry.kind is Kind.FINISH:
            storing = self.store.store_finished()
            if storing.waiting:
                self._retry_later()
            answer = {**answer, "waiting": storing.waiting, "reason": storing.reason}
        return JSONResponse(answer)

    def _saved(self, request: Request, entry: Entry) -> tuple[LabelTarget, TraceLabel]:
        """Save an entry if the page shows what it is about; return the trace and its label."""
        mode = _mode(request)
        rater = self._rater(request)
        if not rater:
            raise HTTPException(403, "say who you are first: reload the page")
        if entry.rater not in ("", rater):
            raise HTTPException(409, f"not saved: the rater is now {rater}: reload the page")
        records = self._read(request, self.pages.reader.read())
        target = self._target(records, rater, mode)
        if entry.steps_id != target.steps_id:
            raise HTTPException(409, "the steps of the trace have changed: reload the page")
        values = _values(entry)
        if entry.kind is Kind.ACCEPT:
            values = _accepted(entry, self._shown(records, mode))
        return target, self.store.save(target, entry.kind, seen=entry.seen, **values)

    def _state(self, target: LabelTarget, label: TraceLabel) -> Mapping[str, Any]:
        """Return the label of a trace as the script of the page reads it."""
        draft = label.draft
        return {
            "steps_id": target.steps_id,
            "draft_id": draft.draft_id,
            "marks": draft.marks,
            "comments": draft.step_comments,
            "comment": draft.comment,
            "decision": draft.decision,
            "missing": draft.missing_steps,
            "first_error": draft.first_error,
            "is_finished": label.finished is not None,
            "is_changed": label.is_changed,
            "can_undo": label.can_undo,
        }

    def _visit(self, request: Request) -> _Visit:
        summary = self.pages._summary(request)
        text = request.query_params.get("place", "")
        # An address can hold any text, and SQL compares 64-bit integers.
        is_position = text.isascii() and text.isdigit() and len(text) < 12
        return _Visit(
            rater=self._rater(request),
            mode=_mode(request),
            selection=parse(request.query_params, summary),
            summary=summary,
            position=int(text) if is_position else None,
        )

    def _rater(self, request: Request) -> str:
        """Return the name of the rater; "" if there is no valid one."""
        if self.rater:
            return self.rater
        try:
            return check_rater(request.cookies.get(_cookie(request), ""))
        except ConfigError:
            return ""

    def _read(self, request: Request, summary: TraceSummary) -> TraceRecords:
        trace_id = trace_id_of(request)
        return self._records.get(
            (summary.version, trace_id), lambda: self.pages._records(request, summary)
        )

    def _target(self, records: TraceRecords, rater: str, mode: str) -> LabelTarget:
        name = ADJUDICATOR if mode == ADJUDICATE else rater
        return LabelTarget(
            rater=name,
            trace=records.trace,
            shard=records.shard,
            mode=mode,
            by=rater if mode == ADJUDICATE else "",
            annotation=self.store.annotation(method_of(name), records.shard, records.trace),
        )

    def _shown(self, records: TraceRecords, mode: str) -> TraceRecords:
        """Return what a rater sees of a trace: never the labels of other raters, but to decide."""
        visible = list[Annotation]()
        if mode == VERIFY:
            # With the truth in sight there is nothing to verify.
            for row in records.annotations:
                if not _is_truth(row.method):
                    visible.append(row)
            label = records.label
            if label is not None and any(map(_is_truth, label.sources)):
                label = None
            return replace(records, annotations=visible, label=label)
        if mode == ADJUDICATE:
            for method in self.store.methods():
                annotation = self.store.annotation(method, records.shard, records.trace)
                if annotation is not None and method != ADJUDICATED:
                    visible.append(annotation)
        return replace(records, annotations=visible, label=None)

    def _progress(self, visit: _Visit) -> Progress:
        if visit.mode == ADJUDICATE:
            disputes = self._disputes(visit)
            decided = sum(dispute.adjudicated is not None for dispute in disputes)
            return Progress(decided, len(disputes))
        narrowed = self.pages._narrowed(visit.summary, visit.selection)
        return progress(narrowed, visit.selection, self._assignment(visit.rater))

    def _next(self, visit: _Visit) -> Stop | None:
        after = -1 if visit.position is None else visit.position
        if visit.mode == ADJUDICATE:
            disputes = self._disputes(visit)
            waiting = list[Stop]()
            for position, dispute in enumerate(disputes):
                if dispute.adjudicated is None:
                    waiting.append(Stop(dispute.trace_id, position))
            # The next one, or else the first of those that were skipped.
            return min(
                waiting, key=lambda stop: (stop.position <= after, stop.position), default=None
            )
        narrowed = self.pages._narrowed(visit.summary, visit.selection)
        return next_stop(narrowed, visit.selection, self._assignment(visit.rater), after)

    def _neighbours(self, visit: _Visit) -> tuple[str | None, str | None]:
        """Return the traces before and after a position in the queue; None where there is none."""
        if visit.position is None:
            return None, None
        if visit.mode != ADJUDICATE:
            narrowed = self.pages._narrowed(visit.summary, visit.selection)
            return neighbours(narrowed, visit.selection, visit.position)
        ids = [dispute.trace_id for dispute in self._disputes(visit)]
        before = ids[visit.position - 1] if 0 < visit.position <= len(ids) else None
        after = ids[visit.position + 1] if visit.position + 1 < len(ids) else None
        return before, after

    def _position_of_dispute(self, visit: _Visit, trace_id: str) -> int | None:
        """Return the position of a trace among the disagreements; None if raters agree on it."""
        for position, dispute in enumerate(self._disputes(visit)):
            if dispute.trace_id == trace_id:
                return position
        return None

    def _disputes(self, visit: _Visit) -> Sequence[Disagreement]:
        """Return the disagreements about traces of the dataset, in an order that stays."""
        disputes = rater_report(self.store).disagreements
        return [each for each in disputes if visit.summary.row_of(each.trace_id) is not None]

    def _assignment(self, rater: str) -> Assignment:
        own_method = method_of(rater)
        finished = self.store.finished_labels(own_method)
        taken = set[str]()
        if self.overlap < 1:
            for method in self.store.methods():
                if method not in (own_method, ADJUDICATED):
                    taken.update(self.store.finished_labels(method))
                    taken.update(self.store.touched_traces(method))
            oldest = time.monotonic() - RESERVED_SECONDS
            with self._lock:
                for trace_id, (other, since) in self._reserved.items():
                    if other != rater and since > oldest:
                        taken.add(trace_id)
        return Assignment(finished=finished.keys(), taken=taken, overlap=self.overlap)

    def _retry_later(self) -> None:
        """Store finished labels in a thread as soon as no run is writing."""
        with self._lock:
            if self._is_retrying:
                return
            self._is_retrying = True
        threading.Thread(target=self._retry, name="labels", daemon=True).start()

    def _retry(self) -> None:
        try:
            while self.store.store_finished().waiting:
                time.sleep(RETRY_SECONDS)
        finally:
            with self._lock:
                self._is_retrying = False

    def _render(self, name: str, **context: Any) -> Response:
        return self.pages._render(name, **context)


def _mode(request: Request) -> str:
    mode = request.query_params.get("mode", BLIND)
    if mode not in MODES:
        raise ConfigError(f"mode={mode[:40]}: choose one of {', '.join(MODES)}")
    return mode


def _cookie(request: Request) -> str:
    # Cookies are sent to all ports of a host, where two datasets can be served.
    return f"{COOKIE}_{request.scope['server'][1]}"


def _is_truth(method: str) -> bool:
    return method == ORACLE or is_human(method)


def _accepted(entry: Entry, visible: TraceRecords) -> Mapping[str, Any]:
    """Return the fields of an entry that accepts a label which the rater sees."""
    proposals = _proposals(visible)
    if entry.source not in proposals:
        raise ConfigError(f"'{entry.source[:40]}' has no first error that could be accepted")
    first_error = proposals[entry.source]
    # A run can have changed it while the page was open.
    if entry.first_error != first_error:
        message = f"not saved: the label of '{entry.source}' has changed: reload the page"
        raise HTTPException(409, message)
    step = None if first_error == NO_ERROR else first_error
    return {"source": entry.source, "step": step}


def _values(entry: Entry) -> Mapping[str, Any]:
    """Return the fields of the entry in the journal."""
    if entry.kind is Kind.COMMENT:
        return {"text": entry.text.strip(), "step": entry.step}
    if entry.kind in (Kind.MARK, Kind.FIRST_ERROR):
        return {"step": entry.step, "mark": entry.mark}
    return {"is_set": entry.is_set}


def _proposals(records: TraceRecords) -> Mapping[str, int]:
    """Return the first errors that can be accepted by their source, that of the label first."""
    proposals = dict[str, int]()
    last = len(records.trace.steps) - 1
    if records.label is not None and records.label.first_error is not None:
        proposals[LABEL] = records.label.first_error
    for annotation in records.annotations:
        if annotation.first_error is not None:
            proposals[annotation.method] = annotation.first_error
    # A damaged dataset can have an index outside the trace.
    return {source: index for source, index in proposals.items() if NO_ERROR <= index <= last}


def _open_ones_first(report: RaterReport) -> Sequence[Disagreement]:
    return sorted(report.disagreements, key=lambda dispute: dispute.adjudicated is not None)


def _questions(summary: TraceSummary, report: RaterReport) -> Mapping[str, str]:
    """Return the questions of the traces on which raters disagree."""
    questions = dict[str, str]()
    for dispute in report.disagreements:
        row = summary.row_of(dispute.trace_id)
        if row is not None:
            questions[dispute.trace_id] = row["question"] or dispute.trace_id
    return questions


def _problem(status: int, message: str, **values: Any) -> Response:
    return JSONResponse({"message": message, **values}, status)
