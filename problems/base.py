"""The protocols of problem sources and of oracles."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from stepmark.identity import content_id
from stepmark.records import Problem, Rejected, Verdict

__all__ = ["Oracle", "Source", "problem_id_of"]


class Source(Protocol):
    """A source of problems."""

    def problems(self) -> Iterator[Problem | Rejected]:
        """Yield all problems lazily and in a stable order.

        An unusable row is yielded as `Rejected` at its position; the rows after it are still read.
        """
        ...


@runtime_checkable
class Oracle(Protocol):
    """A source that can decide the truth of every step of a solution to its problems."""

    def judge(self, problem: Problem, steps: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
        """Return one (verdict, reason) per step.

        A step outside the language of the oracle is UNKNOWN.
        """
        ...


def problem_id_of(question: str, answer: str | None) -> str:
    """Return the id of a problem, a digest of its content.

    The same problem in two files therefore has one id.
    """
    return content_id("problem", question, answer)
