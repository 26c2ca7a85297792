"""The protocol of filters and the traces that they receive.

A filter reads all traces whose labels are kept so far and returns which of them to exclude, with
the reason. It uses no model. Filters can therefore be changed at low cost: only the labels are
computed again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from stepmark.records import Label, Problem, Trace

__all__ = ["Candidate", "Candidates", "Filter", "HasExternalInput", "Share", "drop_one_by_one"]

Share = Annotated[float, Field(ge=0, le=1)]


class Candidate(NamedTuple):
    """A trace whose label is kept so far."""

    problem: Problem
    trace: Trace
    label: Label


Candidates = Callable[[], Iterable[Candidate]]
"""A function that starts a new pass over all candidates, in an arbitrary order."""


class Filter(Protocol):
    """A rule that excludes traces from training.

    The result depends on the set of candidates, not on their order. A filter may hold ids, numbers
    and signatures in memory, but never the texts of all candidates.
    """

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for every trace to exclude, by trace id; other traces are kept."""
        ...


@runtime_checkable
class HasExternalInput(Protocol):
    """A filter that also reads files or data sets."""

    def digest(self) -> str:
        """Return a digest of the external input.

        Raises:
            UserError: The input cannot be read.
        """
        ...


def drop_one_by_one(
    candidates: Candidates, reason: Callable[[Candidate], str]
) -> Mapping[str, str]:
    """Apply a rule to every candidate separately.

    Args:
        candidates: The candidates.
        reason: Returns why a candidate is excluded, or "" if it is kept.
    """
    reasons: dict[str, str] = {}
    for candidate in candidates():
        candidate_reason = reason(candidate)
        if candidate_reason:
            reasons[candidate.trace.trace_id] = candidate_reason
    return reasons
