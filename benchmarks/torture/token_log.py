"""Counts of tokens that survive the process that counts them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["TokenCounts", "TokenLog", "read_counts"]

TOKENS = "tokens"
COMPLETIONS = "completions"


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """What the engine wrote, over all processes that share a folder."""

    tokens: int = 0
    """All tokens, those of unfinished completions included."""
    completions: int = 0
    """Finished completions that the engine returned."""
    finished_tokens: int = 0
    """The tokens of the finished completions."""

    def __sub__(self, other: Self) -> "TokenCounts":
        """Return what was added since `other`."""
        return TokenCounts(
            tokens=self.tokens - other.tokens,
            completions=self.completions - other.completions,
            finished_tokens=self.finished_tokens - other.finished_tokens,
        )


class TokenLog:
    """A log of tokens and completions in two files, to which several processes can append.

    Every call is one write of the operating system, so a killed process loses no count.

    Args:
        folder: The existing folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._tokens = os.open(folder / TOKENS, flags)
        self._completions = os.open(folder / COMPLETIONS, flags)

    def add_token(self) -> None:
        """Count a token: one byte, so that the size of the file is the number of tokens."""
        os.write(self._tokens, b".")

    def add_completion(self, tokens: int) -> None:
        """Count a finished completion."""
        os.write(self._completions, b"%d\n" % tokens)


def read_counts(folder: Path) -> TokenCounts:
    """Return the counts of all processes that logged to a folder."""
    tokens = folder / TOKENS
    completions = folder / COMPLETIONS
    if not completions.exists():
        return TokenCounts()
    lengths = [int(line) for line in completions.read_text().split()]
    return TokenCounts(
        tokens=tokens.stat().st_size, completions=len(lengths), finished_tokens=sum(lengths)
    )
