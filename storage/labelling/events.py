"""Entries of a journal: what a rater did to a trace, one JSON object per line.

A line has a checksum, so that a damaged line is never read as another entry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from stepmark.identity import content_id, digest

__all__ = ["Event", "Kind", "Mark", "steps_id_of"]

CHECKSUM = "checksum"
# More than any dataset has steps in a trace, or shards.
MAX_NUMBER = 10**9


class Kind(StrEnum):
    """What an entry does."""

    MARK = "mark"
    """Set or remove the mark of one step."""
    FIRST_ERROR = "first_error"
    """Mark a step as wrong, and the unmarked steps before it as right."""
    NO_ERROR = "no_error"
    """Mark all unmarked steps as right."""
    ACCEPT = "accept"
    """Take over the first error of a method, instead of all marks."""
    UNSURE = "unsure"
    """Set the trace as undecidable for the rater, or remove that."""
    BAD_PROBLEM = "bad_problem"
    """Set the problem as unusable, or remove that."""
    COMMENT = "comment"
    """Replace the comment on a step or on the trace."""
    UNDO = "undo"
    """Undo the last entry of another kind that is not undone yet."""
    ADOPT = "adopt"
    """Continue the label of the rater that the dataset had before the first entry."""
    FINISH = "finish"
    """Declare the label complete. It becomes an annotation."""
    STORED = "stored"
    """The annotation of a finished label is in the dataset."""


class Mark(StrEnum):
    """What a rater says about a step."""

    NONE = ""
    RIGHT = "right"
    NEUTRAL = "neutral"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a journal."""

    event_id: str
    time: str
    """The time in UTC, in the format of ISO 8601."""
    trace_id: str
    steps_id: str
    """What identifies the steps that the rater saw, see `steps_id_of`."""
    kind: Kind
    step: int | None = None
    """The index of the step; None for entries about the trace, and if no error is accepted."""
    mark: Mark = Mark.NONE
    is_set: bool = False
    """Whether UNSURE and BAD_PROBLEM are set or removed."""
    text: str = ""
    """The comment."""
    source: str = ""
    """With ACCEPT: the method whose first error the rater accepted."""
    mode: str = ""
    """What the rater saw: "blind" or "verify", or "adjudicate"."""
    by: str = ""
    """The person who adjudicated; "" in journals of raters."""
    marks: tuple[Mark, ...] = ()
    """With ADOPT and FINISH: the marks of all steps."""
    comments: tuple[str, ...] = ()
    """With ADOPT and FINISH: the comments on all steps."""
    decision: str = ""
    """With ADOPT and FINISH: the decision on the trace, see `Draft.decision`."""
    step_texts: tuple[str, ...] = ()
    """With FINISH: the steps that the rater saw."""
    problem_id: str = ""
    """With FINISH: the problem of the trace."""
    shard: int = 0
    """With FINISH: the shard of the trace."""
    replaces: str = ""
    """With FINISH and ADOPT: the fingerprint of the label that the dataset had; "" for none."""
    finish_id: str = ""
    """With STORED: the entry whose annotation was stored."""
    result: str = ""
    """With STORED: what was written."""

    def to_line(self) -> bytes:
        """Return the entry as a line with a checksum; default values are left out."""
        values = dict[str, Any]()
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                values[item.name] = value
        values[CHECKSUM] = digest("journal", values)
        return json.dumps(values).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Return the entry of a line; None if the line is incomplete, damaged or foreign."""
        try:
            values = json.loads(line)
            checksum = values.pop(CHECKSUM)
            if checksum != digest("journal", values):
                return None
            return cls(**_checked(values))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def steps_id_of(steps: tuple[str, ...]) -> str:
    """Return what identifies the steps of a trace: equal for equal texts."""
    return content_id("steps", steps)


def _checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of an entry.

    Raises:
        ValueError: A value has another type, or no dataset has it. The journal of a foreign dataset
            can contain anything.
    """
    checked = dict(values)
    for name in ("marks", "comments", "step_texts"):
        checked[name] = tuple(values.get(name, ()))
    checked["kind"] = Kind(values["kind"])
    checked["mark"] = Mark(values.get("mark", ""))
    checked["marks"] = tuple(map(Mark, checked["marks"]))
    for name, value in checked.items():
        if name in ("step", "shard"):
            is_valid = value is None or (type(value) is int and 0 <= value < MAX_NUMBER)
        elif name == "is_set":
            is_valid = isinstance(value, bool)
        elif isinstance(value, tuple):
            is_valid = all(isinstance(text, str) for text in value)
        else:
            is_valid = isinstance(value, str)
        if not is_valid:
            raise ValueError(name)
    # No entry has an id that is not UTF-8: they become ids of traces and fingerprints. The error is
    # a ValueError.
    for name in ("event_id", "trace_id", "replaces"):
        checked.get(name, "").encode()
    if checked.get("shard", 0) is None:
        raise ValueError("shard")
    return checked
