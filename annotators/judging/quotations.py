"""Quotations from the solution in a judge's reply, which do not state the judge's opinion.

A solution can contain lines such as "Step 2: 3 + 4 = 8, which is correct". A judge that quotes them
has not given a verdict.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

__all__ = ["Quotations"]

# Words and numbers. Signs around them differ between a text and its copy: bold type, a list.
WORD = re.compile(r"[^\W_]+")
HEADING = re.compile(r"\bstep\W{0,3}\d{1,6}\b", re.IGNORECASE)
# A line has more headings of steps only if it was made to slow down the reader.
MAX_HEADINGS = 32
# Longer lines are compared by their beginnings.
MAX_LINE_CHARS = 2000
# A line of a quotation in Markdown.
QUOTED_LINE = re.compile(r"^[ \t]{0,3}>.*$", re.MULTILINE)
# The words of a line that is nothing but a verdict. A judge writes it by itself, so that it can be
# equal to a line of the solution by chance.
VERDICT_WORDS = frozenset({"step", "is", "this", "it", "that", "correct", "incorrect", "boxed"})

Key = tuple[str, ...]
"""The words of a line, in lower case."""


@dataclass(frozen=True, slots=True)
class Quotations:
    """The lines of a solution, which a reply can quote."""

    lines: frozenset[Key]

    @classmethod
    def of(cls, solution: Sequence[str]) -> Self:
        """Return the lines of the steps of a solution, as a request shows them."""
        keys = set[Key]()
        for number, step in enumerate(solution, start=1):
            lines = step.splitlines()
            for line in [*lines, f"Step {number}: {step.strip()}".splitlines()[0]]:
                keys.update(_keys(line))
        return cls(frozenset(keys))

    def has_copied(self, line: str) -> bool:
        """Return whether a line is copied from the solution, and says more than a verdict."""
        return not _is_bare(_words(line)) and self._has(line)

    def may_be_copied(self, line: str) -> bool:
        """Return whether a line is in a quotation, or a verdict in words of the solution."""
        return QUOTED_LINE.match(line) is not None or self._has(line)

    def removed_from(self, reply: str) -> str:
        """Return a reply without the quoted lines that the solution contains."""
        if not self.lines:
            return reply
        return QUOTED_LINE.sub(lambda match: "" if self.has_copied(match[0]) else match[0], reply)

    def _has(self, line: str) -> bool:
        return not self.lines.isdisjoint(_keys(line))


def _keys(line: str) -> Iterator[Key]:
    """Yield the words of a line: of all of it, and of what follows the names of steps in it.

    What is nothing but a verdict is not yielded without the name of its step.
    """
    yield _words(line)
    for heading in islice(HEADING.finditer(line), MAX_HEADINGS):
        words = _words(line[heading.end() :])
        if not _is_bare(words):
            yield words


def _words(text: str) -> Key:
    return tuple(word.lower() for word in WORD.findall(text[:MAX_LINE_CHARS]))


def _is_bare(words: Key) -> bool:
    return all(word in VERDICT_WORDS or word.isdigit() for word in words)
