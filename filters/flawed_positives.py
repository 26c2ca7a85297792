"""Flawed positives: a right answer with a wrong step is no example of right reasoning.

FAPO (Ding et al. 2025, arXiv 2510.22543) has the name and the count: 20 to 40 % of a model's right answers. A label never calls such a
trace free of errors. Without this filter it stays, as a trace with a first error, and the view `classes` tells it from the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from filters.base import Candidate, Candidates, one_by_one
from stepmark.records import NO_ERROR, Verdict

__all__ = ["FlawedPositives"]


@dataclass(frozen=True, kw_only=True)
class FlawedPositives:
    """Drop the traces that end right and whose label names a wrong step."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The flawed positives."""
        return one_by_one(candidates, _reason)


def _reason(candidate: Candidate) -> str:
    first_error = candidate.label.first_error
    if candidate.trace.outcome is not Verdict.CORRECT or first_error in (None, NO_ERROR):
        return ""
    return f"right answer, wrong step {first_error}"
