"""Language: drop solutions that contain other scripts, or characters that are not text.

Letters are classified by their Unicode script. Formulas and digits belong to no script and are
always accepted. Control characters, private and unassigned code points, lone surrogates and the
replacement character are never accepted.

What is not covered: languages with the same script are not distinguished, so German text is
accepted where English is expected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import regex  # type: ignore[import-untyped]
from pydantic import Field

from filters.base import Candidate, Candidates, Share, drop_one_by_one
from stepmark.errors import ConfigError

__all__ = ["Language"]

# Control characters other than white space, and private, unassigned and surrogate code points.
BROKEN = r"[[\p{Cc}--\s]\p{Co}\p{Cn}\p{Cs}\ufffd]"
LETTER = regex.compile(rf"\p{{L}}|{BROKEN}", regex.V1)
# The scripts of characters that are used with every script.
NEUTRAL = ("Common", "Inherited")


@dataclass(frozen=True, kw_only=True)
class Language:
    """Drop a trace if more than `max_share` of its letters have a script not in `scripts`.

    `scripts` contains Unicode script names. Greek is expected together with Latin because formulas
    use its letters.
    """

    scripts: Annotated[tuple[str, ...], Field(min_length=1)] = ("Latin", "Greek")
    """Expected Unicode scripts. Greek is included because formulas use it."""
    max_share: Share = 0.05
    """Largest share of other letters."""

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for script in self.scripts:
            # Identifiers only: the name is inserted into a regular expression.
            if not script.isidentifier() or not _is_script(script):
                raise ConfigError(
                    f"filters.language: scripts: no script of Unicode is called '{script}';"
                    " some are: Latin, Greek, Han, Cyrillic"
                )

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each trace with too many unexpected letters, by trace id."""
        return drop_one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        steps = candidate.trace.steps
        unexpected = sum(len(self._unexpected.findall(step)) for step in steps)
        # Most traces have no unexpected letter: their letters need not be counted.
        if unexpected == 0:
            return ""
        share = unexpected / sum(len(LETTER.findall(step)) for step in steps)
        if share > self.max_share:
            return f"{share:.0%} of its letters are not {' or '.join(self.scripts)}"
        return ""

    @cached_property
    def _unexpected(self) -> Any:
        expected = "".join(rf"\p{{Script={script}}}" for script in (*self.scripts, *NEUTRAL))
        return regex.compile(rf"[\p{{L}}--[{expected}]]|{BROKEN}", regex.V1)


def _is_script(name: str) -> bool:
    try:
        regex.compile(rf"\p{{Script={name}}}")
    except regex.error:
        return False
    return True
