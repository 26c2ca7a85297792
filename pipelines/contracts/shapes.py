"""The contract of solution formats: rows that do not fit are rejected by name, and never crash."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import HOSTILE_TEXTS
from problems.solution_formats.base import ImportedSolution, SolutionFormat
from problems.tabular.columns import UnusableError
from problems.tabular.readers import Row

__all__ = ["CHECKS"]

VALUES: Sequence[Any] = (None, True, -1, 1.5, [], {}, [None], [[]], {"a": 1}, *HOSTILE_TEXTS)


def _rows(reader: SolutionFormat) -> Iterator[Mapping[str, Any]]:
    """Yield rows with every value in all needed columns."""
    yield {}
    columns = set[str]()
    for group in reader.needed:
        # A dot in the name of a column reaches into objects.
        columns.update(column.partition(".")[0] for column in group)
    for value in VALUES:
        yield dict.fromkeys(columns, value)


def _declares_columns(subject: Subject) -> None:
    reader: SolutionFormat = subject.build()
    require(isinstance(reader.domain, str), "declare `domain: ClassVar[str]`")
    require(reader.needed, "`needed` names no column")
    for group in reader.needed:
        require(group and not isinstance(group, str), "`needed` has groups of alternative columns")


def _rejects_by_name(subject: Subject) -> None:
    reader: SolutionFormat = subject.build()
    for number, value in enumerate(_rows(reader), 1):
        try:
            items = list(reader.solutions(Row("sample", number, value)))
        except UnusableError as error:
            items = [error]
        for item in items:
            if isinstance(item, UnusableError):
                require(item.field and item.reason, "a rejected row has no field or no reason")
            else:
                _check_solution(item)


def _check_solution(solution: ImportedSolution) -> None:
    require(solution.steps, "a solution has no steps")
    for step in solution.steps:
        require(step.strip(), "a step is blank")
    for method, steps in solution.annotations.items():
        count = f"{len(steps)} annotations by {method} of {len(solution.steps)} steps"
        require(len(steps) == len(solution.steps), count)


CHECKS: Sequence[Check] = (
    Check(what="declares its columns", run=_declares_columns),
    Check(what="rejects rows that do not fit, by field", run=_rejects_by_name),
)
