"""Length: drop solutions with too few or too many steps, very long steps, or repeated lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from filters.base import Candidate, Candidates, Share, drop_one_by_one

__all__ = ["Length"]

Count = Annotated[int, Field(ge=0)]
# Lines without a letter or digit, such as a bracket around a formula, may be repeated.
HAS_CONTENT = re.compile(r"\w")


@dataclass(frozen=True, kw_only=True)
class Length:
    """Drop a trace outside the bounds.

    `max_repeated_lines` bounds the share of lines that repeat an earlier line. With the default
    bounds every solution of ProcessBench is kept (2 to 26 steps of at most 1,300 characters).
    """

    min_steps: Count = 1
    """Fewest steps."""
    max_steps: Count = 64
    """Most steps."""
    max_step_characters: Count = 4_000
    """Longest step."""
    max_repeated_lines: Share = 0.5
    """Largest share of lines that are repetitions of earlier lines."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each trace outside the bounds, by trace id."""
        return drop_one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        steps = candidate.trace.steps
        if not self.min_steps <= len(steps) <= self.max_steps:
            return f"{len(steps)} steps, not {self.min_steps} to {self.max_steps}"
        longest = max(map(len, steps), default=0)
        if longest > self.max_step_characters:
            return f"a step of {longest} characters, more than {self.max_step_characters}"
        repeated_share = _repeated_share("".join(steps))
        if repeated_share > self.max_repeated_lines:
            return f"{repeated_share:.0%} of its lines repeat an earlier line"
        return ""


def _repeated_share(text: str) -> float:
    """Return the share of lines that repeat an earlier line, ignoring white space."""
    lines = [" ".join(line.split()) for line in text.splitlines() if HAS_CONTENT.search(line)]
    if not lines:
        return 0.0
    return 1 - len(set(lines)) / len(lines)
