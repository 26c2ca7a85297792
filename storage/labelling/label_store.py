"""The labels that raters make of one dataset: every entry is saved, finished labels are stored."""

import contextlib
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from stepmark.errors import ConfigError, DatasetBusyError, DatasetError, StepmarkError
from stepmark.records import Annotation, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.readme import write_readme
from storage.dataset.tables import STALE_LABELS, annotations, is_human
from storage.labelling.current_steps import CurrentSteps
from storage.labelling.drafts import BAD_PROBLEM, UNSURE, Draft, TraceLabel, draft_of, label_of
from storage.labelling.events import Event, Kind, Mark, steps_id_of
from storage.labelling.homes import journal_path, journals_of, label_home
from storage.labelling.journal import Journal
from storage.labelling.raters import method_of
from storage.labelling.side_labels import SideLabels
from storage.labelling.storing import finished_annotation, store

__all__ = [
    "ChangedDraftError",
    "HumanLabel",
    "LabelStore",
    "LabelTarget",
    "MissingMarksError",
]


class MissingMarksError(ConfigError):
    """A label cannot be finished, because steps have no mark.

    Attributes:
        steps: Their indices.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        numbers = ", ".join(str(step + 1) for step in steps)
        noun = "step" if len(steps) == 1 else "steps"
        super().__init__(f"not finished: no mark on {noun} {numbers}")
        self.steps = steps


class ChangedDraftError(ConfigError):
    """An entry was made on a page that shows an older draft than the journal has.

    Attributes:
        target: The trace.
        label: The current draft or label of the trace.
    """

    def __init__(self, target: "LabelTarget", label: TraceLabel) -> None:
        super().__init__(
            "not saved: the label has changed in another window, and is shown as it is now;"
            " repeat your last entry if it is still right"
        )
        self.target = target
        self.label = label


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTarget:
    """A trace, and the rater who labels it."""

    rater: str
    """The name of the rater."""
    trace: Trace
    shard: int
    mode: str
    """What the rater sees, see `Event.mode`."""
    by: str = ""
    """The person who adjudicates."""
    annotation: Annotation | None = None
    """The label of the rater that the dataset has."""

    @property
    def method(self) -> str:
        """The method of the annotation."""
        return method_of(self.rater)

    @property
    def steps_id(self) -> str:
        """The id of the texts of the steps."""
        return steps_id_of(self.trace.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanLabel:
    """A finished label."""

    first_error: int | None
    is_bad_problem: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """The state of the finished labels."""

    waiting: int
    """The number of finished labels that are in a journal only."""
    reason: str
    """Why they wait; "" if none does."""


class LabelStore:
    """The journals and annotations of all raters of a dataset. Threads can share it."""

    def __init__(self, source: Dataset, home: Dataset) -> None:
        self.source = source
        self.home = home
        self._journals = dict[str, Journal]()
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        # The version and the labels of each part of the dataset, by method and shard.
        self._parts = dict[tuple[str, int], tuple[str, Mapping[str, HumanLabel]]]()
        # The versions of the parts of stale labels, and what they say.
        self._stale_labels: tuple[object, Mapping[str, Mapping[str, str]]] | None = None
        self._current_steps = CurrentSteps(source)

    @classmethod
    def open(cls, source: Dataset, folder: str = "") -> "LabelStore":
        """Return the labels of a dataset; see `homes.label_home` for the arguments and errors."""
        return cls(source, label_home(source, folder))

    @cached_property
    def is_beside(self) -> bool:
        """Whether labels are written into another folder than the dataset."""
        return self.home is not self.source

    @cached_property
    def _side_labels(self) -> SideLabels | None:
        """The labels beside the dataset; None if they are in it."""
        if not self.is_beside:
            return None
        return SideLabels(self.source, self.home, self._current_journal)

    @property
    def location(self) -> str:
        """The folder that labels are written into."""
        return self.home.folder.location("").rstrip("/")

    def label(self, target: LabelTarget) -> TraceLabel:
        """Return the current draft or label of a trace by a rater."""
        journal = self.journal(target.method)
        journal.read()
        return self._label(journal, target)

    def save(self, target: LabelTarget, kind: Kind, *, seen: str = "", **values: Any) -> TraceLabel:
        """Append an entry to the journal of the rater, and return the label with it.

        Args:
            target: The trace.
            kind: What the entry does.
            seen: The `draft_id` of the draft that the rater sees; "" if it is not known.
            **values: Further fields of the `Event`.

        Raises:
            ConfigError: The trace has no such step.
            ChangedDraftError: The rater sees another draft than the journal has.
            MissingMarksError: A label is finished whose steps are not marked.
            DatasetError: The entry cannot be written.
        """
        step = values.get("step")
        if step is not None and not 0 <= step < len(target.trace.steps):
            raise ConfigError(f"the trace has {len(target.trace.steps)} steps, not {step + 1}")
        journal = self.journal(target.method)
        with journal.appending() as appender:
            events = _adoptions(journal, target)
            label = self._label(journal, target)
            if seen and seen != label.draft.draft_id:
                raise ChangedDraftError(target, label)
            if kind is Kind.FINISH:
                if label.draft.missing_steps:
                    raise MissingMarksError(label.draft.missing_steps)
                values = {**values, **_finish_values(target, label.draft)}
                values["replaces"] = values["replaces"] or self._lost_label(target)
            if kind is not Kind.UNDO or label.can_undo:
                events.append(_event(target, kind, **values))
                appender.append(*events)
        if kind is Kind.FINISH:
            if self._side_labels is not None:
                trace = target.trace
                self._side_labels.remember(trace.trace_id, target.shard, trace.steps)
            self.store_finished()
        return self._label(journal, target)

    def store_finished(self) -> Storing:
        """Write the finished labels that the dataset lacks, unless another process writes to it."""
        with self._storing:
            waiting = self._waiting()
            if not waiting:
                return Storing(waiting=0, reason="")
            reason = ""
            try:
                with self.home.writer_lock():
                    reason = self._store(waiting)
            except DatasetBusyError:
                reason = "a run is writing to the dataset; they are stored when it has ended"
            except StepmarkError as error:
                reason = str(error)
            remaining = sum(len(journal.pending()) for journal in self._waiting().values())
            return Storing(waiting=remaining, reason=reason if remaining else "")

    def methods(self) -> Sequence[str]:
        """Return the methods of all raters, sorted."""
        methods = set(journals_of(self.home))
        for dataset in (self.source, self.home):
            methods.update(filter(is_human, dataset.methods("annotations")))
        return sorted(methods)

    def faults(self) -> Sequence[str]:
        """Return what is wrong with the journals: each as a line of text."""
        faults = list[str]()
        for method, path in journals_of(self.home).items():
            journal = self.journal(method)
            try:
                journal.read()
            except DatasetError as error:
                faults.append(str(error))
                continue
            faults.extend(f"{path}: {fault}" for fault in journal.faults())
        return faults

    def finished_labels(self, method: str) -> Mapping[str, HumanLabel]:
        """Return the finished labels of a method by trace id, those that wait included.

        Labels on other steps than a trace has now do not count, see `labels_on_other_steps`.
        """
        labels = dict[str, HumanLabel]()
        for shard, version in self.source.part_versions(annotations(method)).items():
            labels.update(self._stored_labels(method, shard, version))
        if self._side_labels is not None:
            fitted = self._side_labels.fitted(method)
            for trace_id in fitted.unusable:
                # The rater has replaced this label by one that is not used.
                labels.pop(trace_id, None)
            for trace_id, annotation in fitted.usable.items():
                labels[trace_id] = _human_label(annotation)
            return labels
        journal = self._current_journal(method)
        pending = journal.pending()
        if pending:
            located = self._current_steps.locate({key: pending[key].shard for key in pending})
            for trace_id, event in pending.items():
                if trace_id in located and located[trace_id].steps == event.step_texts:
                    annotation = finished_annotation(method, journal, event)
                    labels[trace_id] = _human_label(annotation)
        return labels

    def labels_on_other_steps(self, method: str) -> Mapping[str, str]:
        """Return by trace id why the label of a rater is not used: its trace has other steps now.

        Traces that the rater has labelled again are left out.
        """
        reasons = dict(self._set_aside().get(method, {}))
        if self._side_labels is not None:
            reasons.update(self._side_labels.fitted(method).unusable)
        finished = self.finished_labels(method)
        return {key: reason for key, reason in reasons.items() if key not in finished}

    def annotation(self, method: str, shard: int, trace: Trace) -> Annotation | None:
        """Return the finished label of a trace by a method; None if its steps have none."""
        side_labels = self._side_labels
        if side_labels is not None and side_labels.has_label(method, trace.trace_id):
            # One in the dataset is older: the rater has replaced it.
            return side_labels.label_on(method, trace.trace_id, shard, trace.steps)
        journal = self._current_journal(method)
        pending = journal.pending().get(trace.trace_id)
        if pending is not None and pending.steps_id == steps_id_of(trace.steps):
            return finished_annotation(method, journal, pending)
        table = annotations(method)
        if shard in self.source.shards(table):
            for row in self.source.matching_records(table, shard, "trace_id", [trace.trace_id]):
                return row
        return None

    def touched_traces(self, method: str) -> Sequence[str]:
        """Return the traces with entries of a rater, also of labels that are not finished."""
        return self._current_journal(method).traces()

    def journal(self, method: str) -> Journal:
        """Return the journal of a method."""
        with self._lock:
            if method not in self._journals:
                self._journals[method] = Journal(journal_path(self.home, method))
            return self._journals[method]

    def _current_journal(self, method: str) -> Journal:
        """Return a journal with what was appended to it.

        One that cannot be read is a fault, see `faults`, and must not stop the other raters.
        """
        journal = self.journal(method)
        with contextlib.suppress(DatasetError):
            journal.read()
        return journal

    def _label(self, journal: Journal, target: LabelTarget) -> TraceLabel:
        step_count = len(target.trace.steps)
        events = [*journal.events(target.trace.trace_id), *_adoptions(journal, target)]
        label = label_of(events, target.steps_id, step_count)
        if label.finish is None and target.annotation is not None:
            finished = draft_of([_adoption(target, target.annotation)], step_count)
            label = replace(label, finished=finished)
        return label

    def _lost_label(self, target: LabelTarget) -> str:
        """Return the fingerprint of a label beside the dataset that the rater does not see.

        It is stored, but its entry in the journal is lost. "" if there is none.
        """
        if self._side_labels is None:
            return ""
        return self._side_labels.stored_fingerprint(target.method, target.trace.trace_id)

    def _waiting(self) -> Mapping[str, Journal]:
        """Return the journals with finished labels that are not stored, by method."""
        waiting = dict[str, Journal]()
        for method in journals_of(self.home):
            journal = self._current_journal(method)
            if journal.pending():
                waiting[method] = journal
        return waiting

    def _store(self, waiting: Mapping[str, Journal]) -> str:
        """Write finished labels; return why those of a rater cannot be written, "" if all were."""
        reason = ""
        methods = self.home.methods("annotations")
        for method, journal in waiting.items():
            try:
                results = store(self.home, self.source, method, journal)
                journal.append(*_stored_events(journal, results))
            except DatasetError as error:
                # Such as a damaged part, or the journal of another user of this machine.
                reason = str(error)
        if not self.is_beside and self.home.methods("annotations") != methods:
            # It has a config per method.
            write_readme(self.home)
        return reason

    def _set_aside(self) -> Mapping[str, Mapping[str, str]]:
        """Return by method and trace id why labels of the dataset are set aside."""
        versions = self.source.part_versions(STALE_LABELS)
        known = self._stale_labels
        if known is not None and known[0] == versions:
            return known[1]
        reasons = dict[str, dict[str, str]]()
        names = ["trace_id", "method", "reason", "is_carried_over"]
        for shard in versions:
            columns = self.source.columns(STALE_LABELS, shard, names)
            for trace_id, method, reason, is_carried_over in zip(*columns.values(), strict=True):
                if not is_carried_over:
                    reasons.setdefault(method, {})[trace_id] = reason
        self._stale_labels = (versions, reasons)
        return reasons

    def _stored_labels(self, method: str, shard: int, version: str) -> Mapping[str, HumanLabel]:
        key = (method, shard)
        known = self._parts.get(key)
        if known is not None and known[0] == version:
            return known[1]
        names = ["trace_id", "first_error", "error"]
        columns = self.source.columns(annotations(method), shard, names)
        labels = dict[str, HumanLabel]()
        for trace_id, first_error, error in zip(*columns.values(), strict=True):
            labels[trace_id] = HumanLabel(
                first_error=first_error, is_bad_problem=error == BAD_PROBLEM
            )
        self._parts[key] = (version, labels)
        return labels


def _event(target: LabelTarget, kind: Kind, **values: Any) -> Event:
    return Event(
        event_id=uuid.uuid4().hex,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        trace_id=target.trace.trace_id,
        steps_id=target.steps_id,
        kind=kind,
        mode=target.mode,
        by=target.by,
        **values,
    )


def _finish_values(target: LabelTarget, draft: Draft) -> Mapping[str, Any]:
    return {
        "marks": draft.marks,
        "comments": draft.step_comments,
        "text": draft.comment,
        "decision": draft.decision,
        "step_texts": target.trace.steps,
        "problem_id": target.trace.problem_id,
        "shard": target.shard,
        "replaces": target.annotation.fingerprint if target.annotation else "",
    }


def _stored_events(journal: Journal, results: Mapping[str, str]) -> Sequence[Event]:
    events = list[Event]()
    for trace_id, finish in journal.pending().items():
        if finish.event_id in results:
            events.append(
                Event(
                    event_id=uuid.uuid4().hex,
                    time=datetime.now(UTC).isoformat(timespec="seconds"),
                    trace_id=trace_id,
                    steps_id=finish.steps_id,
                    kind=Kind.STORED,
                    finish_id=finish.event_id,
                    result=results[finish.event_id],
                )
            )
    return events


def _adoptions(journal: Journal, target: LabelTarget) -> list[Event]:
    """Return the entry that continues the label that the dataset has, if the journal has none.

    The dataset can have a label that was imported, or carried over from other steps.
    """
    annotation = target.annotation
    trace_id = target.trace.trace_id
    pending = journal.pending().get(trace_id)
    if annotation is None or (pending is not None and pending.steps_id == target.steps_id):
        return []
    known = set[str]()
    for event in journal.events(trace_id):
        if event.steps_id == target.steps_id:
            if event.kind is Kind.FINISH:
                known.add(event.event_id)
            elif event.kind is Kind.ADOPT:
                known.add(event.replaces)
    if annotation.fingerprint in known:
        return []
    return [_adoption(target, annotation)]


def _adoption(target: LabelTarget, annotation: Annotation) -> Event:
    """Return the entry with which a rater continues the label that the dataset has."""
    marks = list[Mark]()
    for index, step in enumerate(annotation.steps):
        mark = Mark.NONE
        if index in annotation.neutral_steps:
            mark = Mark.NEUTRAL
        elif step.verdict is Verdict.CORRECT:
            mark = Mark.RIGHT
        elif step.verdict is Verdict.INCORRECT:
            mark = Mark.WRONG
        marks.append(mark)
    decision = ""
    if annotation.error == BAD_PROBLEM:
        decision = BAD_PROBLEM
    elif annotation.first_error is None:
        decision = UNSURE
    comments = tuple(step.rationale for step in annotation.steps)
    return _event(
        target,
        Kind.ADOPT,
        marks=tuple(marks),
        comments=comments,
        decision=decision,
        replaces=annotation.fingerprint,
    )


def _human_label(annotation: Annotation) -> HumanLabel:
    return HumanLabel(
        first_error=annotation.first_error, is_bad_problem=annotation.error == BAD_PROBLEM
    )
