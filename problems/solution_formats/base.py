"""The protocol of solution formats, the solution that they read, and helpers for rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from problems.base import problem_id_of
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, text_of, value_at
from problems.tabular.readers import Row
from stepmark.records import Problem, StepAnnotation, Verdict

__all__ = [
    "HUMAN",
    "NOT_GRADED",
    "ImportedSolution",
    "SolutionFormat",
    "annotation_of",
    "list_at",
    "metadata_at",
    "problem_of",
    "texts_at",
]

HUMAN = "human"
NOT_GRADED = "not graded"
# Excludes infinities, NaN and integers of more than 300 digits; a row with these is rejected.
LARGEST_METADATA_NUMBER = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSolution:
    """A solution in a row.

    The concatenated `steps` are its text. If the row contains the steps as a list, `separator` was
    appended to each of them except the last. `annotations` maps a method to one entry per step, and
    `neutral_steps` to the indices of the steps that its source rates as neutral.
    `column` is the column of the solution, for messages. `repeats` is true if several rows of the
    format share the solution; a repetition is then no error of the row.
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
    neutral_steps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    repeats: bool = False


class SolutionFormat(Protocol):
    """A reader of solutions in the rows of a dataset."""

    version: ClassVar[int]
    domain: ClassVar[str]
    """The domain of the problems, unless the user names another."""

    @property
    def needed(self) -> Sequence[Sequence[str]]:
        """Groups of alternative columns; a file without a column of a group has another format."""
        ...

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the solutions of a row.

        A solution that cannot be used is yielded as its error.

        Raises:
            UnusableError: The rest of the row cannot be used.
        """
        ...


@lru_cache(maxsize=64)
def annotation_of(verdict: Verdict, rationale: str = "") -> StepAnnotation:
    """Return an annotation with a verdict and a fixed rationale.

    Equal annotations are one object, because an import creates millions of them.
    """
    return StepAnnotation(verdict=verdict, rationale=rationale)


def problem_of(question: str, answer: str | None, **metadata: str) -> Problem:
    """Return a problem without domain and source, which the importer adds."""
    return Problem(
        problem_id=problem_id_of(question, answer),
        question=question,
        answer=answer,
        domain="",
        source="",
        metadata=metadata,
    )


def list_at(value: object, path: str) -> Sequence[Any]:
    """Return the list at a path.

    Raises:
        UnusableError: There is no list.
    """
    items = value_at(value, path)
    if items is None:
        raise UnusableError(path, "missing")
    if not isinstance(items, list | tuple):
        raise UnusableError(path, f"a {type(items).__name__}, not a list")
    return items


def texts_at(value: object, path: str) -> tuple[str, ...]:
    """Return the texts in the list at a path.

    Raises:
        UnusableError: The list is missing or empty, an entry is no usable text, or the entries
            together are longer than `MAX_CHARACTERS`.
    """
    texts: list[str] = []
    for index, item in enumerate(list_at(value, path)):
        texts.append(text_of(item, f"{path}.{index}"))
    if not texts:
        raise UnusableError(path, "an empty list")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise UnusableError(path, f"longer than {MAX_CHARACTERS:,} characters")
    return tuple(texts)


def metadata_at(value: object, *paths: str) -> Mapping[str, str]:
    """Return the values at the paths that have one, as texts by the last part of the path."""
    metadata: dict[str, str] = {}
    for path in paths:
        text = _metadata_text(value_at(value, path), path)
        if text:
            metadata[path.rpartition(".")[2]] = text
    return metadata


def _metadata_text(value: object, path: str) -> str:
    """Return a text, number or boolean as text; "" for a value that is null or blank."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    if isinstance(value, bool):
        # As in JSON, not as in Python.
        return str(value).lower()
    if isinstance(value, int | float) and abs(value) < LARGEST_METADATA_NUMBER:
        return repr(value)
    return text_of(value, path)
