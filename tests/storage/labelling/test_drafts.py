"""Drafts: what the entries of a rater mean."""

from collections.abc import Sequence

import pytest

from stepmark.records import Verdict
from storage.labelling.drafts import BAD_PROBLEM, UNSURE, Draft, TraceLabel, label_of
from storage.labelling.events import Event, Kind, Mark
from tests.columns import column

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN
N = Mark.NONE
R = Mark.RIGHT
O = Mark.NEUTRAL  # noqa: E741
W = Mark.WRONG


def entry(kind: Kind, step: int | None = None, mark: Mark = N, **values: object) -> Event:
    fields = {"event_id": "e", "time": "now", "trace_id": "t", "steps_id": "s"}
    return Event(**{**fields, **values}, kind=kind, step=step, mark=mark)  # type: ignore[arg-type]


def mark(step: int, value: Mark) -> Event:
    return entry(Kind.MARK, step, value)


def label(*events: Event, steps: int = 4) -> TraceLabel:
    return label_of(events, "s", steps)


def marks(*events: Event) -> Sequence[Mark]:
    return label(*events).draft.marks


def test_first_error_marks_earlier_steps() -> None:
    assert marks(mark(1, O), entry(Kind.FIRST_ERROR, 2)) == (R, O, W, N)


def test_first_error_replaces_earlier_ones() -> None:
    assert marks(mark(0, W), entry(Kind.FIRST_ERROR, 2)) == (R, R, W, N)
    assert marks(mark(3, W), entry(Kind.FIRST_ERROR, 2)) == (R, R, W, W)


def test_no_error_fills_unmarked_steps() -> None:
    assert marks(mark(1, O), entry(Kind.NO_ERROR)) == (R, O, R, R)
    assert marks(mark(1, W), entry(Kind.NO_ERROR)) == (R, W, R, R)


def test_accepted_error_replaces_all_marks() -> None:
    assert marks(mark(0, W), mark(1, O), entry(Kind.ACCEPT, 2)) == (R, R, W, N)
    assert marks(mark(0, W), entry(Kind.ACCEPT)) == (R, R, R, R)


def test_undo_removes_one_entry() -> None:
    undo = entry(Kind.UNDO)
    entries = [mark(0, R), mark(0, W), entry(Kind.FIRST_ERROR, 3)]
    assert marks(*entries, undo) == (W, N, N, N)
    assert marks(*entries, undo, undo) == (R, N, N, N)
    assert marks(*entries, undo, undo, undo, undo) == (N, N, N, N)
    assert marks(*entries, undo, undo, mark(1, R), undo) == (R, N, N, N)
    assert not label(undo).can_undo
    assert label(mark(0, R)).can_undo


def test_undo_keeps_the_adopted_label() -> None:
    adopt = entry(Kind.ADOPT, marks=(R, W, N, N), comments=("", "why", "", ""))
    undo = entry(Kind.UNDO)
    found = label(mark(3, R), adopt, mark(1, R), undo, undo)
    assert found.draft.marks == (R, W, N, N)
    assert found.draft.step_comments == ("", "why", "", "")
    assert not found.can_undo


@pytest.mark.parametrize(
    ("values", "missing", "first_error"),
    [
        ((N, N, N, N), [0, 1, 2, 3], None),
        ((R, N, W, N), [1], None),
        ((R, O, W, N), [], 2),
        ((R, O, R, R), [], -1),
        ((W, N, N, N), [], 0),
        ((R, R, R, N), [3], None),
    ],
)
def test_missing_marks(values: Sequence[Mark], missing: list[int], first_error: int | None) -> None:
    entries = [mark(step, value) for step, value in enumerate(values)]
    draft = label(*entries).draft
    assert draft.missing_steps == missing
    assert draft.first_error == first_error


@pytest.mark.parametrize("kind", [Kind.UNSURE, Kind.BAD_PROBLEM])
def test_undecided_label_has_no_verdicts(kind: Kind) -> None:
    draft = label(entry(Kind.NO_ERROR), mark(1, O), entry(kind, is_set=True)).draft
    assert draft.missing_steps == []
    annotation = draft.annotation("t", "human_ann", "f")
    assert annotation.first_error is None
    assert column(annotation.steps, "verdict") == [U, U, U, U]
    assert annotation.neutral_steps == ()
    assert annotation.error == (BAD_PROBLEM if kind is Kind.BAD_PROBLEM else None)


def test_decision_can_be_removed() -> None:
    unsure = entry(Kind.UNSURE, is_set=True)
    assert label(unsure).draft.decision == UNSURE
    assert label(unsure, entry(Kind.UNSURE)).draft.decision == ""
    # A later mark decides.
    assert label(unsure, mark(0, W)).draft.first_error == 0
    assert label(entry(Kind.BAD_PROBLEM, is_set=True), unsure).draft.decision == UNSURE


def test_annotation_has_marks_and_comments() -> None:
    entries = [
        mark(0, R),
        mark(1, O),
        mark(2, W),
        entry(Kind.COMMENT, 2, text="5, not 6"),
        entry(Kind.COMMENT, text="nice"),
    ]
    draft = label(*entries).draft
    annotation = draft.annotation("t", "human_ann", "f")
    assert column(annotation.steps, "verdict") == [C, C, I, U]
    assert annotation.neutral_steps == (1,)
    assert annotation.first_error == 2
    assert annotation.steps[2].rationale == "5, not 6"
    assert draft.comment == "nice"
    assert annotation.fingerprint == "f"


def test_finished_label_stays_while_edited() -> None:
    finish = entry(Kind.FINISH)
    done = label(mark(0, W), finish)
    assert (done.is_changed, done.draft) == (False, done.finished)
    edited = label(mark(0, W), finish, entry(Kind.UNDO), mark(0, R))
    assert edited.is_changed
    assert edited.finished == done.finished
    assert edited.finish == finish
    again = label(mark(0, W), finish, mark(0, R), mark(0, W))
    assert not again.is_changed


def test_entries_of_other_steps_are_ignored() -> None:
    other = entry(Kind.MARK, 0, W, steps_id="other")
    assert marks(other) == (N, N, N, N)
    assert marks(mark(7, W), mark(-1, W)) == (N, N, N, N)


def test_trace_without_steps_has_no_error() -> None:
    draft = Draft.empty(0)
    assert (draft.missing_steps, draft.first_error) == ([], -1)
