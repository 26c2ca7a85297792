"""The label of a trace while a rater works on it, computed from the entries of the journal."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stepmark.identity import content_id
from stepmark.records import Annotation, StepAnnotation, Verdict, first_error_of
from storage.labelling.events import Event, Kind, Mark

__all__ = ["BAD_PROBLEM", "UNSURE", "Draft", "TraceLabel", "draft_of", "label_of"]

BAD_PROBLEM = "bad problem"
"""The `error` of the annotation of a trace whose problem is unusable."""
UNSURE = "unsure"
VERDICTS = {
    Mark.NONE: Verdict.UNKNOWN,
    Mark.RIGHT: Verdict.CORRECT,
    # As the neutral ratings of PRM800K, see `Annotation.neutral_steps`.
    Mark.NEUTRAL: Verdict.CORRECT,
    Mark.WRONG: Verdict.INCORRECT,
}
# Entries that change nothing of a draft.
NO_EDITS = frozenset({Kind.UNDO, Kind.FINISH, Kind.STORED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The marks and comments of a rater on one trace."""

    marks: tuple[Mark, ...]
    step_comments: tuple[str, ...]
    comment: str = ""
    """The comment on the trace."""
    decision: str = ""
    """`UNSURE`, `BAD_PROBLEM`, or "" if the marks decide."""

    @classmethod
    def empty(cls, step_count: int) -> "Draft":
        """Return the draft of a trace that nobody has labelled."""
        no_mark: tuple[Mark, ...] = (Mark.NONE,)
        no_comment: tuple[str, ...] = ("",)
        return cls(marks=no_mark * step_count, step_comments=no_comment * step_count)

    @property
    def draft_id(self) -> str:
        """What identifies the draft: equal for equal marks, comments and decisions."""
        return content_id("draft", self.marks, self.step_comments, self.comment, self.decision)

    @property
    def missing_steps(self) -> Sequence[int]:
        """The indices of the steps that need a mark before the label is complete.

        The steps after the first wrong one need none, and no step of a trace does whose rater is
        unsure or calls its problem unusable.
        """
        missing = list[int]()
        if self.decision:
            return missing
        for index, mark in enumerate(self.marks):
            if mark is Mark.WRONG:
                break
            if mark is Mark.NONE:
                missing.append(index)
        return missing

    @property
    def first_error(self) -> int | None:
        """The index of the first wrong step, -1 for none, None while it is undecided."""
        if self.decision:
            return None
        return first_error_of([VERDICTS[mark] for mark in self.marks])

    def annotation(self, trace_id: str, method: str, fingerprint: str) -> Annotation:
        """Return a complete label as an annotation.

        If the rater is unsure, or the problem is unusable, no step has a verdict: marks that were
        made before must not become training labels.
        """
        marks = self.marks
        if self.decision:
            marks = Draft.empty(len(marks)).marks
        steps = []
        for mark, comment in zip(marks, self.step_comments, strict=True):
            steps.append(StepAnnotation(verdict=VERDICTS[mark], rationale=comment))
        neutral_steps = [index for index, mark in enumerate(marks) if mark is Mark.NEUTRAL]
        return Annotation(
            trace_id=trace_id,
            method=method,
            fingerprint=fingerprint,
            first_error=self.first_error,
            steps=tuple(steps),
            neutral_steps=tuple(neutral_steps),
            error=BAD_PROBLEM if self.decision == BAD_PROBLEM else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLabel:
    """What a rater has done to a trace."""

    draft: Draft
    finished: Draft | None = None
    """The draft that was finished last; None if none was."""
    finish: Event | None = None
    """The entry that finished it."""
    can_undo: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether there are entries that no finished label contains."""
        if self.finished is None:
            return self.draft != Draft.empty(len(self.draft.marks))
        return self.draft != self.finished


@dataclass(slots=True, kw_only=True)
class _Replay:
    """The edits that are in effect at one point of a journal."""

    edits: list[Event] = field(default_factory=list)
    finished_edits: list[Event] | None = None
    finish: Event | None = None

    def add(self, event: Event) -> None:
        if event.kind is Kind.UNDO:
            if self.edits and self.edits[-1].kind is not Kind.ADOPT:
                self.edits.pop()
        elif event.kind is Kind.FINISH:
            # The entry has the whole draft: with a damaged line before it, such as that of an UNDO,
            # the edits would give another label than the rater has finished.
            self.finished_edits = [event] if event.marks else list(self.edits)
            self.finish = event
        elif event.kind is Kind.ADOPT:
            self.edits = [event]
        elif event.kind not in NO_EDITS:
            self.edits.append(event)


def label_of(events: Sequence[Event], steps_id: str, step_count: int) -> TraceLabel:
    """Return what a rater has done to a trace.

    Args:
        events: The entries about the trace. Those about other steps are ignored.
        steps_id: What identifies the steps of the trace.
        step_count: Their number.
    """
    replay = _Replay()
    for event in events:
        if event.steps_id == steps_id:
            replay.add(event)
    finished: Draft | None = None
    if replay.finished_edits is not None:
        finished = draft_of(replay.finished_edits, step_count)
    return TraceLabel(
        draft=draft_of(replay.edits, step_count),
        finished=finished,
        finish=replay.finish,
        can_undo=bool(replay.edits) and replay.edits[-1].kind is not Kind.ADOPT,
    )


def draft_of(edits: Sequence[Event], step_count: int) -> Draft:
    """Return the draft after some edits, none of which is undone."""
    draft = Draft.empty(step_count)
    for event in edits:
        draft = _edited(draft, event)
    return draft


def _edited(draft: Draft, event: Event) -> Draft:
    """Return a draft after one more edit. An edit of a step that does not exist has no effect."""
    if event.step is not None and not 0 <= event.step < len(draft.marks):
        return draft
    if event.kind is Kind.UNSURE:
        return replace(draft, decision=UNSURE if event.is_set else "")
    if event.kind is Kind.BAD_PROBLEM:
        return replace(draft, decision=BAD_PROBLEM if event.is_set else "")
    if event.kind is Kind.COMMENT:
        return _commented(draft, event)
    if event.kind in (Kind.ADOPT, Kind.FINISH):
        return _adopted(draft, event)
    return replace(draft, marks=_marked(draft.marks, event), decision="")


def _marked(marks: Sequence[Mark], event: Event) -> tuple[Mark, ...]:
    """Return the marks after an edit that changes marks."""
    if event.kind is Kind.ACCEPT:
        return _marks_of(event.step, len(marks))
    changed = list(marks)
    if event.step is None:
        # No error. Marks of wrong steps stay: a slip of the finger must not remove a verdict.
        return _filled(changed, len(changed))
    if event.kind is Kind.MARK:
        changed[event.step] = event.mark
        return tuple(changed)
    # The first error: an earlier step that is marked as wrong would contradict it.
    for index in range(event.step):
        if changed[index] is Mark.WRONG:
            changed[index] = Mark.RIGHT
    changed[event.step] = Mark.WRONG
    return _filled(changed, event.step)


def _marks_of(first_error: int | None, step_count: int) -> tuple[Mark, ...]:
    """Return the marks up to a first error; None for no error."""
    marks = list[Mark]()
    for index in range(step_count):
        if first_error is None or index < first_error:
            marks.append(Mark.RIGHT)
        else:
            marks.append(Mark.WRONG if index == first_error else Mark.NONE)
    return tuple(marks)


def _filled(marks: list[Mark], end: int) -> tuple[Mark, ...]:
    """Return the marks, with unmarked steps before a position as right."""
    filled = list(marks)
    for index in range(end):
        if filled[index] is Mark.NONE:
            filled[index] = Mark.RIGHT
    return tuple(filled)


def _commented(draft: Draft, event: Event) -> Draft:
    if event.step is None:
        return replace(draft, comment=event.text)
    comments = list(draft.step_comments)
    comments[event.step] = event.text
    return replace(draft, step_comments=tuple(comments))


def _adopted(draft: Draft, event: Event) -> Draft:
    count = len(draft.marks)
    if len(event.marks) != count or len(event.comments) != count:
        return draft
    return replace(
        draft,
        marks=event.marks,
        step_comments=event.comments,
        comment=event.text,
        decision=event.decision,
    )
