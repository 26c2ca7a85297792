"""Length: solutions of too few or too many steps, of endless steps, or that say the same thing over and over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from filters.base import Candidate, Candidates, Share, one_by_one

__all__ = ["Length"]

Count = Annotated[int, Field(ge=0)]
SAYS_SOMETHING = re.compile(r"\w")
"""What a line must hold to count as repeated: a bracket of a formula may stand on many lines."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """Drop a trace outside the bounds; `max_repeated_lines` is the largest share of its lines that may stand in it before.

    The defaults let every solution of ProcessBench pass (2 to 26 steps, none longer than 1,300 characters).
    """

    min_steps: Count = 1
    max_steps: Count = 64
    max_step_characters: Count = 4_000
    max_repeated_lines: Share = 0.5

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The traces outside the bounds."""
        return one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        steps = candidate.trace.steps
        if not self.min_steps <= len(steps) <= self.max_steps:
            return f"{len(steps)} steps, not {self.min_steps} to {self.max_steps}"
        longest = max(map(len, steps), default=0)
        if longest > self.max_step_characters:
            return f"a step of {longest} characters, more than {self.max_step_characters}"
        repeated = _repeated("".join(steps))
        return (
            f"{repeated:.0%} of its lines are repeated"
            if repeated > self.max_repeated_lines
            else ""
        )


def _repeated(text: str) -> float:
    """The share of lines that stood there before, whatever their white space."""
    lines = [" ".join(line.split()) for line in text.splitlines() if SAYS_SOMETHING.search(line)]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0
