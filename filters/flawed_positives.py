"""Flawed positives: drop traces with a correct final answer and an incorrect step.

The term and its frequency (20 to 40 % of a model's correct answers) are from FAPO (Ding et al.
2025, arXiv 2510.22543). Without this filter they are kept as traces with a first error; the view
`classes` lists them as flawed positives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from filters.base import Candidate, Candidates, drop_one_by_one
from stepmark.records import NO_ERROR, Verdict

__all__ = ["FlawedPositives"]


@dataclass(frozen=True, kw_only=True)
class FlawedPositives:
    """Drop the traces with a correct final answer whose label has a first error."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each flawed positive, by trace id."""
        return drop_one_by_one(candidates, _reason)


def _reason(candidate: Candidate) -> str:
    first_error = candidate.label.first_error
    if candidate.trace.outcome is not Verdict.CORRECT or first_error in (None, NO_ERROR):
        return ""
    return f"correct answer, first error at step {first_error}"
