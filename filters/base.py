"""What a filter is, and what it sees of a dataset.

A filter looks at all traces whose labels are kept so far, and says which of them to leave out and why. It asks no model, so
filters can be changed at will: only labels are made anew.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from stepmark.records import Label, Problem, Trace

__all__ = ["Candidate", "Candidates", "Filter", "HasExternalInput", "Share", "one_by_one"]

Share = Annotated[float, Field(ge=0, le=1)]


class Candidate(NamedTuple):
    """A trace whose label is kept so far."""

    problem: Problem
    trace: Trace
    label: Label


Candidates = Callable[[], Iterable[Candidate]]
"""Each call passes over all candidates from the start, in an order that means nothing."""


class Filter(Protocol):
    """A reason to leave traces out.

    What it drops depends on which candidates there are and not on their order. It may keep ids, numbers and signatures in memory, never
    the texts of all candidates.
    """

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """By trace id, why the trace is left out; the others stay."""
        ...


@runtime_checkable
class HasExternalInput(Protocol):
    """A filter that goes by more than its parameters."""

    def content(self) -> str:
        """A digest of what it goes by; a `UserError` where that cannot be read."""
        ...


def one_by_one(candidates: Candidates, reason: Callable[[Candidate], str]) -> Mapping[str, str]:
    """What a filter drops that looks at each candidate alone; the reason is empty where it stays."""
    told = ((candidate.trace.trace_id, reason(candidate)) for candidate in candidates())
    return {trace_id: why for trace_id, why in told if why}
