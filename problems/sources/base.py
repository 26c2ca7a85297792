"""Base classes that sources share: generated problems, and problems in tables."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from pydantic import Field

from problems.tabular.columns import require_columns
from problems.tabular.problem_formats import (
    ProblemFormat,
    needed_columns,
    problem_format_of,
)
from problems.tabular.problem_stream import check_limit, problems_of
from problems.tabular.readers import Row
from stepmark.errors import ConfigError
from stepmark.records import Problem, Rejected

__all__ = ["GeneratedSource", "TabularSource"]


@dataclass(frozen=True, kw_only=True)
class GeneratedSource(ABC):
    """A source that draws `count` different problems of `min_steps` to `max_steps` steps.

    The problems are a function of the fields.
    """

    count: Annotated[int, Field(ge=1)] = 100
    """Number of problems; all are different."""
    seed: int = 1
    """Seed of the generator."""
    min_steps: int
    max_steps: int = 6
    """Most steps of a gold solution, at most 8."""

    plugin_name: ClassVar[str]
    """The name of the source in error messages."""
    fewest_steps: ClassVar[int]
    most_steps: ClassVar[int]

    def __post_init__(self) -> None:
        if not self.fewest_steps <= self.min_steps <= self.max_steps <= self.most_steps:
            raise ConfigError(
                f"{self.plugin_name}: min_steps = {self.min_steps}, max_steps = {self.max_steps};"
                f" they must satisfy {self.fewest_steps} <= min_steps <= max_steps"
                f" <= {self.most_steps}"
            )

    def problems(self) -> Iterator[Problem | Rejected]:
        """Yield the problems; those of a smaller `count` are the first of a larger one."""
        seen: set[str] = set()
        index = 0
        while len(seen) < self.count:
            problem = self._problem(index)
            index += 1
            # Two indices can yield the same problem, above all where few steps leave few variants.
            if problem.problem_id not in seen:
                seen.add(problem.problem_id)
                yield problem

    @abstractmethod
    def _problem(self, index: int) -> Problem:
        """Return problem `index`, drawn from a random stream of the seed and the index."""


@dataclass(frozen=True, kw_only=True)
class TabularSource:
    """A source that reads problems from the columns of rows.

    `shape` is one of gsm8k, gsm8k_solutions, math, processbench, or empty for columns named
    `question` and `answer`. `fields` maps Stepmark's fields (question, answer,
    reference_solution, domain, license, source, metadata.NAME) to columns; dots in a column name
    reach into objects.
    """

    shape: str = ""
    """`gsm8k`, `gsm8k_solutions`, `math` or `processbench`; empty for columns named `question`
    and `answer`.
    """
    fields: Mapping[str, str] = field(default_factory=dict)
    """Table from our field (`question`, `answer`, `reference_solution`, `domain`, `license`,
    `source`, `metadata.NAME`) to your column; dots reach into objects.
    """
    domain: str = ""
    """Domain of the problems."""
    license: str = ""
    """Licence of the problems, for the dataset card."""
    limit: int | None = None
    """The maximum number of problems; rejected rows do not count."""

    def __post_init__(self) -> None:
        # Both checks belong to the start of a run, before the first row is read.
        problem_format_of(self.shape, self.fields)
        check_limit(self.limit)

    def _problem_format(self, source: str) -> ProblemFormat:
        """Return the format with the values that apply to all rows of `source`."""
        problem_format = problem_format_of(self.shape, self.fields)
        return replace(
            problem_format,
            source=source,
            license=self.license,
            domain=self.domain or problem_format.domain,
        )

    def _problems_in(
        self, rows: Iterable[Row | Rejected], source: str, seen: set[str]
    ) -> Iterator[Problem | Rejected]:
        """Yield the problems in rows that have the same columns; duplicates of `seen` are rejected.

        Raises:
            InputError: The first rows lack a column.
        """
        problem_format = self._problem_format(source)
        checked_rows = require_columns(rows, needed_columns(problem_format, self.fields))
        return problems_of(checked_rows, problem_format, seen)
