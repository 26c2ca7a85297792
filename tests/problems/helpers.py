"""Helpers for the tests of problem sources."""

from collections.abc import Sequence

from problems.base import Source
from stepmark.records import Problem, Verdict

__all__ = ["answers_of", "gold_lines", "problems_of", "values_of", "verdicts_in"]


def problems_of(source: Source) -> list[Problem]:
    """Return all problems of a source that rejects nothing."""
    problems: list[Problem] = []
    for row in source.problems():
        assert isinstance(row, Problem)
        problems.append(row)
    return problems


def answers_of(problems: Sequence[Problem]) -> list[str | None]:
    return [problem.answer for problem in problems]


def gold_lines(problem: Problem) -> list[str]:
    return problem.metadata["gold"].splitlines(keepends=True)


def values_of(problems: Sequence[Problem], field: str) -> set[str]:
    """Return the distinct values of a field of problems."""
    return {getattr(problem, field) for problem in problems}


def verdicts_in(judgements: Sequence[tuple[Verdict, str]]) -> list[Verdict]:
    return [verdict for verdict, _ in judgements]
