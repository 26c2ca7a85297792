"""The conversion of a stream of rows into a stream of problems, without duplicates and limited."""

from collections.abc import Iterable, Iterator

from problems.tabular.columns import UnusableError
from problems.tabular.problem_formats import ProblemFormat
from problems.tabular.readers import Row
from stepmark.errors import ConfigError
from stepmark.records import Problem, Rejected

__all__ = ["DUPLICATE_REASON", "check_limit", "limited", "problems_of"]

DUPLICATE_REASON = "the same problem as an earlier row"
"""The start of the reason for which a duplicate is rejected. `filters.contamination` parses it."""


def check_limit(limit: int | None) -> None:
    """Check that a limit lets at least one problem pass.

    Raises:
        ConfigError: It is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit}: it must be 1 or more, or left out for all problems")


def limited(items: Iterable[Problem | Rejected], limit: int | None) -> Iterator[Problem | Rejected]:
    """Yield the items up to and including the problem that reaches the limit."""
    count = 0
    for item in items:
        yield item
        if isinstance(item, Problem):
            count += 1
        if count == limit:
            return


def problems_of(
    rows: Iterable[Row | Rejected], problem_format: ProblemFormat, seen: set[str]
) -> Iterator[Problem | Rejected]:
    """Yield the problem of each row, in order.

    Args:
        rows: The rows; rejected ones are yielded unchanged.
        problem_format: The columns of the rows.
        seen: The ids of earlier problems, extended here. A row with one of them is rejected.
    """
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            problem = problem_format.problem(row)
        except UnusableError as error:
            yield error.rejected(row)
            continue
        if problem.problem_id in seen:
            reason = f"{DUPLICATE_REASON} ({problem.problem_id})"
            yield UnusableError(problem_format.columns["question"], reason).rejected(row)
            continue
        seen.add(problem.problem_id)
        yield problem
