"""Confidence: a label that is not sure enough trains nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from filters.base import Candidate, Candidates, Share, one_by_one

__all__ = ["Confidence"]


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Drop a trace whose label's confidence is below `threshold`, or unknown: a bound that is not known to hold does not hold."""

    threshold: Share = 0.9

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The labels that are not sure enough."""
        return one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        confidence = candidate.label.confidence
        if confidence is None:
            return "no confidence"
        return (
            f"{confidence:.3f} is below {self.threshold:g}" if confidence < self.threshold else ""
        )
