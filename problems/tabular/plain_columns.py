"""Solutions in rows whose columns a `ProblemFormat` maps.

Steps that a row gives as a list are kept as they are (`stepmark.steps.append_separator`). A
solution that a row gives as one text is split by `split`; its labels must refer to the steps of
that split. `label`
is the index of the first wrong step, or -1: the steps before it are correct, the steps after it
unknown. `step_labels` has one entry per step: true, 1 or "+"; false, 0 or "-"; null for unknown. An
example row with plain columns:

    {"question": "What is 2 + 2 * 3?", "answer": "8", "steps": ["2 * 3 = 6", "2 + 6 = 9"],
     "label": 1, "correct": false, "model": "my-model"}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from problems.solution_formats.base import (
    NOT_GRADED,
    ImportedSolution,
    annotation_of,
    list_at,
    texts_at,
)
from problems.tabular.columns import (
    MAX_CHARACTERS,
    UnusableError,
    number_or_text_at,
    text_of,
    value_at,
)
from problems.tabular.problem_formats import ProblemFormat, metadata_of, needed_columns
from problems.tabular.readers import Row
from stepmark import steps as splitting
from stepmark.records import NO_ERROR, Problem, StepAnnotation, Verdict, first_error_of

__all__ = ["PlainColumns"]

TRUTH_VALUES: Mapping[str, bool] = {
    "true": True,
    "1": True,
    "1.0": True,
    "+": True,
    "false": False,
    "0": False,
    "0.0": False,
    "-": False,
}
MODEL_WILDCARD = "*."


@dataclass(frozen=True, kw_only=True)
class PlainColumns:
    """A solution format that reads mapped columns.

    `fields` are the columns that the user mapped, and `labels_by` is the method that made the
    labels.
    """

    shape: ProblemFormat
    fields: Mapping[str, str]
    split: str
    labels_by: str

    domain: str = ""

    version: ClassVar[int] = 2

    @property
    def needed(self) -> Sequence[Sequence[str]]:
        """Groups of alternative columns; a file without a column of a group has another format."""
        solution_columns: list[str] = []
        for name in ("solution", "steps"):
            if name in self.shape.solutions:
                solution_columns.append(self.shape.solutions[name])
        return [*needed_columns(self.shape, self.fields), solution_columns]

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the solutions of a row: one, or one per model where the path starts with `*.`.

        A solution that cannot be used is yielded as its error.

        Raises:
            UnusableError: The row has no usable problem or no solution.
        """
        problem = self.shape.problem(row)
        has_solution = False
        for columns, model in self._solution_columns(row):
            has_solution = True
            try:
                yield self._solution(row, problem, columns, model)
            except UnusableError as error:
                yield error
        if not has_solution:
            raise UnusableError(_solution_column(self.shape.solutions), "no solution in this row")

    def _solution_columns(self, row: Row) -> Iterator[tuple[Mapping[str, str], str]]:
        """Yield the columns of each solution, and the model that the wildcard stands for."""
        columns = self.shape.solutions
        wildcard_path = _wildcard_path(columns)
        if not wildcard_path:
            yield columns, ""
            return
        rest_of_path = wildcard_path.removeprefix(MODEL_WILDCARD)
        for model, value in row.value.items():
            if isinstance(value, Mapping) and value_at(value, rest_of_path) is not None:
                yield _columns_of_model(columns, model), model

    def _solution(
        self, row: Row, problem: Problem, columns: Mapping[str, str], model: str
    ) -> ImportedSolution:
        steps, separator = self._steps(row, columns)
        outcome, reason = _outcome(row, columns)
        step_annotations = _step_annotations(row, columns, len(steps))
        annotations = {}
        if step_annotations is not None:
            annotations[self.labels_by] = step_annotations
        return ImportedSolution(
            problem=problem,
            column=_solution_column(columns),
            steps=steps,
            separator=separator,
            model=_text(row, columns, "model") or model,
            final_answer=_text(row, columns, "final_answer"),
            outcome=outcome,
            outcome_reason=reason,
            annotations=annotations,
            metadata=metadata_of(row, columns),
        )

    def _steps(self, row: Row, columns: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
        """Return the steps, and the separator that was added to steps from a list."""
        if _value(row, columns, "steps") is not None:
            return splitting.append_separator(texts_at(row.value, columns["steps"]))
        text = text_of(_value(row, columns, "solution"), _solution_column(columns))
        return splitting.split(text, self.split), None


def _solution_column(columns: Mapping[str, str]) -> str:
    return columns.get("solution", columns.get("steps", ""))


def _wildcard_path(columns: Mapping[str, str]) -> str:
    """Return the first solution path with a wildcard, or ""."""
    for name in ("solution", "steps"):
        path = columns.get(name, "")
        if path.startswith(MODEL_WILDCARD):
            return path
    return ""


def _columns_of_model(columns: Mapping[str, str], model: str) -> Mapping[str, str]:
    """Return the columns with the wildcard replaced by the column of a model."""
    replaced: dict[str, str] = {}
    for ours, theirs in columns.items():
        replaced[ours] = theirs
        if theirs.startswith(MODEL_WILDCARD):
            replaced[ours] = f"{model}.{theirs.removeprefix(MODEL_WILDCARD)}"
    return replaced


def _step_annotations(
    row: Row, columns: Mapping[str, str], count: int
) -> tuple[StepAnnotation, ...] | None:
    """Return one annotation for each of `count` steps, or None for a solution without labels."""
    label = _label(row, columns, count)
    verdicts = _step_labels(row, columns, count)
    if verdicts is None:
        if label is None:
            return None
        verdicts = _verdicts_from_label(label, count)
    elif label is not None and label != first_error_of(verdicts):
        raise UnusableError(
            columns["label"], f"{label} is not the first wrong step of {columns['step_labels']}"
        )
    return tuple(annotation_of(verdict) for verdict in verdicts)


def _verdicts_from_label(label: int, count: int) -> Sequence[Verdict]:
    if label == NO_ERROR:
        return [Verdict.CORRECT] * count
    after_error = count - label - 1
    return [Verdict.CORRECT] * label + [Verdict.INCORRECT] + [Verdict.UNKNOWN] * after_error


def _label(row: Row, columns: Mapping[str, str], count: int) -> int | None:
    """Return the index of the first wrong step, `NO_ERROR`, or None without a label."""
    value = _text(row, columns, "label")
    if value is None:
        return None
    # Tables that contain nulls often store integers as floats.
    number = value.removesuffix(".0")
    if not number.removeprefix("-").isdecimal() or len(number) > len(str(MAX_CHARACTERS)):
        raise UnusableError(columns["label"], "not the index of a step")
    label = int(number)
    if not NO_ERROR <= label < count:
        raise UnusableError(
            columns["label"],
            f"{label}, but the {count} steps are 0 to {count - 1}, and {NO_ERROR} is no error",
        )
    return label


def _step_labels(row: Row, columns: Mapping[str, str], count: int) -> Sequence[Verdict] | None:
    if _value(row, columns, "step_labels") is None:
        return None
    column = columns["step_labels"]
    labels = list_at(row.value, column)
    if len(labels) != count:
        raise UnusableError(column, f"{len(labels)} labels for {count} steps")
    verdicts: list[Verdict] = []
    for index, value in enumerate(labels):
        if value is None:
            verdicts.append(Verdict.UNKNOWN)
        else:
            verdicts.append(_verdict(value, f"{column}.{index}"))
    return verdicts


def _outcome(row: Row, columns: Mapping[str, str]) -> tuple[Verdict, str]:
    """Return the outcome of a solution and its reason."""
    value = _value(row, columns, "correct")
    if value is None:
        return Verdict.UNKNOWN, NOT_GRADED
    outcome = _verdict(value, columns["correct"])
    truth = "false"
    if outcome is Verdict.CORRECT:
        truth = "true"
    return outcome, f"as given: {columns['correct']} = {truth}"


def _verdict(value: object, column: str) -> Verdict:
    """Return the verdict of a value that means true or false."""
    text = ""
    if isinstance(value, str | int | float):
        text = str(value).strip().lower()
    if text not in TRUTH_VALUES:
        raise UnusableError(column, "neither true nor false")
    if TRUTH_VALUES[text]:
        return Verdict.CORRECT
    return Verdict.INCORRECT


def _value(row: Row, columns: Mapping[str, str], name: str) -> Any:
    if name not in columns:
        return None
    return value_at(row.value, columns[name])


def _text(row: Row, columns: Mapping[str, str], name: str) -> str | None:
    if name not in columns:
        return None
    return number_or_text_at(row.value, columns[name])
