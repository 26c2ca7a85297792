"""Confidence: drop traces whose label is too uncertain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from filters.base import Candidate, Candidates, Share, drop_one_by_one

__all__ = ["Confidence"]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Drop a trace whose label's confidence is below `threshold` or unknown."""

    threshold: Share = 0.9
    """Lowest confidence that is kept."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each trace whose label is too uncertain, by trace id."""
        return drop_one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        confidence = candidate.label.confidence
        if confidence is None:
            return "no confidence"
        if confidence < self.threshold:
            return f"confidence {confidence:.3f}, below {self.threshold:g}"
        return ""
