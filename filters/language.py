"""Language: solutions that slip into another script, or into what is no text at all.

Letters are counted by their Unicode script; formulas and digits belong to no script and always pass. Control characters, private and
unassigned code points, lone surrogates and the replacement character are of no script that anyone can expect.

What is not covered: languages of one script are not told apart, so that German passes for English.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import regex  # type: ignore[import-untyped]
from pydantic import Field

from filters.base import Candidate, Candidates, Share, one_by_one
from stepmark.errors import ConfigError

__all__ = ["Language"]

BROKEN = r"[[\p{Cc}--\s]\p{Co}\p{Cn}\p{Cs}\ufffd]"
NEUTRAL = ("Common", "Inherited")


@dataclass(frozen=True, kw_only=True)
class Language:
    """Drop a trace in which more than `max_share` of the letters are of other scripts than `scripts`, by their Unicode names.

    Greek is expected beside Latin, since formulas are full of it.
    """

    scripts: Annotated[tuple[str, ...], Field(min_length=1)] = ("Latin", "Greek")
    max_share: Share = 0.05

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for script in self.scripts:
            if not script.isidentifier() or not _is_script(script):
                raise ConfigError(
                    f"filters.language: scripts: no script of Unicode is called '{script}'; some are: Latin, Greek, Han, Cyrillic"
                )

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The traces that are written otherwise than expected."""
        return one_by_one(candidates, self._reason)

    def _reason(self, candidate: Candidate) -> str:
        steps = candidate.trace.steps
        other = sum(len(self._unexpected.findall(step)) for step in steps)
        share = other / sum(len(LETTER.findall(step)) for step in steps) if other else 0.0
        return (
            f"{share:.0%} of its letters are not {' or '.join(self.scripts)}"
            if share > self.max_share
            else ""
        )

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


LETTER = regex.compile(rf"\p{{L}}|{BROKEN}", regex.V1)
