"""What raters have done: counts, agreement, and the traces on which they disagree."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stepmark.records import NO_ERROR
from storage.labelling.agreement import (
    PairAgreement,
    disagreements,
    krippendorff_alpha,
    pair_agreements,
)
from storage.labelling.label_store import HumanLabel, LabelStore
from storage.labelling.raters import ADJUDICATED, rater_of

__all__ = ["Disagreement", "RaterReport", "RaterRow", "disputed_traces", "rater_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterRow:
    """The labels of one rater, counted."""

    method: str
    name: str
    finished: int
    errors: int
    no_errors: int
    undecided: int
    """The traces of which the rater is unsure."""
    bad_problems: int
    begun: int
    """The traces with entries and without a finished label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A trace of which two raters name different first errors."""

    trace_id: str
    answers: Mapping[str, HumanLabel]
    """The labels by method."""
    adjudicated: HumanLabel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterReport:
    """The raters of a dataset, and how they agree."""

    rows: Sequence[RaterRow]
    labelled: int
    """The number of traces that at least one rater has finished."""
    shared: int
    """The number of those that at least two raters have finished."""
    pairs: Sequence[PairAgreement]
    alpha: float | None
    """Krippendorff's α of all raters; None if it is not defined."""
    disagreements: Sequence[Disagreement]
    """First those that are not adjudicated."""


def rater_report(store: LabelStore) -> RaterReport:
    """Return the report on all raters.

    Raises:
        DatasetError: Labels cannot be read.
    """
    labels = {method: store.finished_labels(method) for method in store.methods()}
    adjudicated = labels.pop(ADJUDICATED, {})
    rows = list[RaterRow]()
    by_trace = dict[str, dict[str, HumanLabel]]()
    for method, finished in labels.items():
        rows.append(_row(method, finished, store.touched_traces(method)))
        for trace_id, label in finished.items():
            by_trace.setdefault(trace_id, {})[method] = label
    decided = _decided(labels)
    units = list[list[int]]()
    for answers in by_trace.values():
        values = [label.first_error for label in answers.values()]
        units.append([value for value in values if value is not None])
    disputes = list[Disagreement]()
    for trace_id in disagreements(decided):
        disputes.append(
            Disagreement(
                trace_id=trace_id,
                answers=by_trace[trace_id],
                adjudicated=adjudicated.get(trace_id),
            )
        )
    disputes.sort(key=lambda dispute: dispute.adjudicated is not None)
    return RaterReport(
        rows=rows,
        labelled=len(by_trace),
        shared=sum(len(answers) > 1 for answers in by_trace.values()),
        pairs=pair_agreements(decided),
        alpha=krippendorff_alpha(units),
        disagreements=disputes,
    )


def disputed_traces(report: RaterReport) -> Sequence[str]:
    """Return the traces that raters disagree on and that are not adjudicated."""
    return [entry.trace_id for entry in report.disagreements if entry.adjudicated is None]


def _row(method: str, finished: Mapping[str, HumanLabel], touched: Collection[str]) -> RaterRow:
    errors = 0
    no_errors = 0
    bad_problems = 0
    for label in finished.values():
        bad_problems += label.is_bad_problem
        if label.first_error is not None:
            errors += label.first_error != NO_ERROR
            no_errors += label.first_error == NO_ERROR
    return RaterRow(
        method=method,
        name=rater_of(method),
        finished=len(finished),
        errors=errors,
        no_errors=no_errors,
        undecided=len(finished) - errors - no_errors - bad_problems,
        bad_problems=bad_problems,
        begun=len(set(touched) - finished.keys()),
    )


def _decided(
    labels: Mapping[str, Mapping[str, HumanLabel]],
) -> Mapping[str, Mapping[str, int]]:
    decided = dict[str, dict[str, int]]()
    for method, finished in labels.items():
        decided[method] = {}
        for trace_id, label in finished.items():
            if label.first_error is not None:
                decided[method][trace_id] = label.first_error
    return decided
