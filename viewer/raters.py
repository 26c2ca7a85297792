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
from storage.labelling.drafts import BAD_PROBLEM
from storage.labelling.label_store import HumanLabel, LabelStore
from storage.labelling.raters import ADJUDICATED, rater_of

__all__ = ["Disagreement", "RaterReport", "RaterRow", "rater_report"]


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
    on_other_steps: int
    """The traces whose label is not used, because they have other steps now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A trace of which two raters name different first errors, or only one a bad problem."""

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
    """In the order of the ids of the traces."""


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
        others = store.labels_on_other_steps(method)
        rows.append(_row(method, finished, store.touched_traces(method), others))
        for trace_id, label in finished.items():
            by_trace.setdefault(trace_id, {})[method] = label
    decided = _decided(labels)
    units = list[list[int]]()
    for answers in by_trace.values():
        values = [label.first_error for label in answers.values()]
        units.append([value for value in values if value is not None])
    disputes = list[Disagreement]()
    for trace_id in disagreements(_answers(labels)):
        disputes.append(
            Disagreement(
                trace_id=trace_id,
                answers=by_trace[trace_id],
                adjudicated=adjudicated.get(trace_id),
            )
        )
    return RaterReport(
        rows=rows,
        labelled=len(by_trace),
        shared=sum(len(answers) > 1 for answers in by_trace.values()),
        pairs=pair_agreements(decided),
        alpha=krippendorff_alpha(units),
        disagreements=disputes,
    )


def _row(
    method: str,
    finished: Mapping[str, HumanLabel],
    touched: Collection[str],
    on_other_steps: Collection[str],
) -> RaterRow:
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
        begun=len(set(touched) - finished.keys() - set(on_other_steps)),
        on_other_steps=len(on_other_steps),
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


def _answers(
    labels: Mapping[str, Mapping[str, HumanLabel]],
) -> Mapping[str, Mapping[str, int | str]]:
    """Return what raters say about traces: the first error, or that the problem is bad."""
    answers = dict[str, dict[str, int | str]]()
    for method, finished in labels.items():
        answers[method] = {}
        for trace_id, label in finished.items():
            if label.is_bad_problem:
                answers[method][trace_id] = BAD_PROBLEM
            elif label.first_error is not None:
                answers[method][trace_id] = label.first_error
    return answers
