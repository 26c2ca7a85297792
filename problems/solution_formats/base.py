"""What a shape of rows with solutions is, and the solution that every such row is read into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from problems.base import problem_id_of
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, at, text_of
from problems.tabular.readers import Row
from stepmark.records import Problem, StepAnnotation, Verdict

__all__ = [
    "HUMAN",
    "NOT_GRADED",
    "Shape",
    "Solution",
    "list_at",
    "noted",
    "problem_of",
    "said_of",
    "texts_at",
]

HUMAN = "human"
NOT_GRADED = "not graded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A solution as its row holds it.

    `steps` joined are its text. Where the row gives them as a list, `separator` is what was put behind each but the last to make them one.
    `annotations` holds, by method, one entry per step. `column` is where the row keeps it, for what is told of it.
    `repeats` says that rows share it by design: met again, it is no flaw of the row.
    """

    problem: Problem
    column: str
    steps: tuple[str, ...]
    separator: str | None = None
    model: str = ""
    final_answer: str | None = None
    outcome: Verdict = Verdict.UNKNOWN
    outcome_reason: str = NOT_GRADED
    annotations: Mapping[str, tuple[StepAnnotation, ...]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    repeats: bool = False


class Shape(Protocol):
    """How the rows of a data set become solutions."""

    version: ClassVar[int]
    domain: ClassVar[str]
    """The domain of its problems, where the user names no other."""

    @property
    def needed(self) -> Sequence[Sequence[str]]:
        """Groups of alternative columns: a file that has none of a group is of another shape."""
        ...

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The row's solutions; one that cannot be used stands as its error in its place, a raised error ends the row."""
        ...


@lru_cache(maxsize=64)
def said_of(verdict: Verdict, rationale: str = "") -> StepAnnotation:
    """An annotation that is a verdict and a few fixed words; equal ones are one record, as there are millions of them."""
    return StepAnnotation(verdict=verdict, rationale=rationale)


def problem_of(question: str, answer: str | None, **metadata: str) -> Problem:
    """A problem that does not yet know the file it comes from."""
    return Problem(
        problem_id=problem_id_of(question, answer),
        question=question,
        answer=answer,
        domain="",
        source="",
        metadata=metadata,
    )


def list_at(value: object, path: str) -> Sequence[Any]:
    """The list at a path, or `UnusableError`."""
    found = at(value, path)
    if not isinstance(found, list | tuple):
        raise UnusableError(
            path, "missing" if found is None else f"a {type(found).__name__}, not a list"
        )
    return found


def texts_at(value: object, path: str) -> tuple[str, ...]:
    """The texts listed at a path: at least one, each with something to read, all together not endless; or `UnusableError`."""
    texts = tuple(
        text_of(text, f"{path}.{index}") for index, text in enumerate(list_at(value, path))
    )
    if not texts:
        raise UnusableError(path, "an empty list")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise UnusableError(path, f"longer than {MAX_CHARACTERS:,} characters")
    return texts


def noted(value: object, *paths: str) -> Mapping[str, str]:
    """The text, number or truth value at each path that has one, under the path's last name."""
    found = {path.rpartition(".")[2]: _note(at(value, path), path) for path in paths}
    return {name: note for name, note in found.items() if note}


def _note(value: object, path: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and abs(value) < 1e300:
        return repr(value)
    return text_of(value, path)
