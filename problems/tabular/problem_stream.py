"""A stream of rows becomes a stream of problems: bad rows and duplicates set aside, stopped at a limit."""

from collections.abc import Iterable, Iterator

from problems.tabular.columns import UnusableError
from problems.tabular.problem_formats import Shape
from problems.tabular.readers import Row
from stepmark.errors import ConfigError
from stepmark.records import Problem, Rejected

__all__ = ["REPEATED", "check_limit", "limited", "problems_of"]

REPEATED = "the same problem as an earlier row"
"""How the reason starts for which a second row of one problem is set aside."""


def check_limit(limit: int | None) -> None:
    """Refuse a limit that lets nothing through."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit}: it must be 1 or more, or left out for all problems")


def limited(items: Iterable[Problem | Rejected], limit: int | None) -> Iterator[Problem | Rejected]:
    """The items up to the problem that reaches the limit."""
    count = 0
    for item in items:
        yield item
        count += isinstance(item, Problem)
        if count == limit:
            return


def problems_of(
    rows: Iterable[Row | Rejected], shape: Shape, seen: set[str]
) -> Iterator[Problem | Rejected]:
    """The problem of each row, in order; one that was `seen` before is set aside."""
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            problem = shape.problem(row)
            if problem.problem_id in seen:
                raise UnusableError(shape.columns["question"], f"{REPEATED} ({problem.problem_id})")
        except UnusableError as error:
            yield error.rejected(row)
            continue
        seen.add(problem.problem_id)
        yield problem
