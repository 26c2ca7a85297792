"""What a source of problems is, and what an oracle adds to it."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from stepmark.identity import digest
from stepmark.records import Problem, Rejected, Verdict

__all__ = ["Oracle", "Source", "problem_id_of"]


class Source(Protocol):
    """A place problems come from. A row that cannot be used is yielded as `Rejected`, in its place, and loses nothing else."""

    def problems(self) -> Iterator[Problem | Rejected]:
        """All problems, lazily, in a stable order."""
        ...


@runtime_checkable
class Oracle(Protocol):
    """A source that knows the truth of every step written about its problems."""

    def judge(self, problem: Problem, steps: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
        """One (verdict, reason) per step; a step outside the oracle's language is unknown."""
        ...


def problem_id_of(question: str, answer: str | None) -> str:
    """The id of a problem: a digest of its content, so the same problem from two files is one problem."""
    return digest("problem", question, answer)
