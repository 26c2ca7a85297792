"""Solutions in rows whose columns a `ProblemFormat` maps.

Steps that a row gives as a list are kept as they are (`stepmark.steps.append_separator`). A
solution that a row gives as one text is split by `splitter`. If it has labels, they refer to the
plain steps of that split: cut sums are not joined, and short steps are not either. `label` is the
number of the first wrong step, or -1: the steps before it are correct, the steps after it unknown.
`step_labels` has one entry per step: true, 1 or "+"; false, 0 or "-"; null for unknown. A null
label and a list of nulls count as no label. An example row with plain columns:

    {"question": "What is 2 + 2 * 3?", "answer": "8", "steps": ["2 * 3 = 6", "2 + 6 = 9"],
     "label": 1, "correct": false, "model": "my-model"}

Labels are counted from 0, as here, or from 1 (`LABEL_BASES`). `LabelEvidence` derives it from
the labels themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    is_missing,
    number_or_text_at,
    text_of,
    value_at,
)
from problems.tabular.problem_formats import ProblemFormat, metadata_of, needed_columns
from problems.tabular.readers import Row
from stepmark import steps as splitting
from stepmark.records import NO_ERROR, Problem, StepAnnotation, Verdict, first_error_of
from stepmark.steps import Splitter

__all__ = ["LABEL_BASES", "LabelEvidence", "PlainColumns"]

LABEL_BASES = (0, 1)
"""The number that labels may have for the first step."""
# What data sets and CSV files contain instead of null.
NULL_LABELS = frozenset(("null", "none", "nan", "n/a"))
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
LABEL_FIELDS = ("label", "step_labels")
MODEL_WILDCARD = "*."


@dataclass(slots=True)
class LabelEvidence:
    """Counts of the labels that fit each number of the first step."""

    only: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LABEL_BASES, 0))
    """The labels that fit one base only: 0 can be no step counted from 1."""
    both: int = 0
    neither: int = 0
    no_error: int = 0
    """The labels that are `NO_ERROR`."""
    zeros_with_right_answer: int = 0
    """The labels 0 of solutions that the file calls correct: 0 may mean "no error"."""

    def add(
        self, label: int, count: int, *, first_error: int | None, has_right_answer: bool
    ) -> None:
        """Count a label.

        Args:
            label: The label of a solution.
            count: The number of its steps.
            first_error: The index (0-based) of the first error in its `step_labels`, if it has one.
            has_right_answer: Whether the file calls the solution correct.
        """
        if label == NO_ERROR:
            self.no_error += 1
            return
        if label == 0 and has_right_answer and first_error is None:
            self.zeros_with_right_answer += 1
        fitting = []
        for base in LABEL_BASES:
            index = label - base
            if 0 <= index < count and first_error in (None, index):
                fitting.append(base)
        if len(fitting) == 1:
            self.only[fitting[0]] += 1
        elif fitting:
            self.both += 1
        else:
            self.neither += 1

    def description(self) -> str:
        """Return the counts for an error message."""
        text = (
            f"{self.only[0]} labels fit only 0, {self.only[1]} only 1, {self.both} both, "
            f"{self.neither} neither"
        )
        if self.zeros_with_right_answer:
            text += f"; {self.zeros_with_right_answer} labels 0 belong to correct solutions"
        return text

    def base(self) -> int | None:
        """Return the base that fits; None if it is ambiguous."""
        if self.only[1] and not self.only[0] and not self.neither:
            return 1
        if self.only[1] or (self.both and not self.only[0]):
            return None
        # Flawed positives can have a first wrong step 0 as well, but not half of all of these.
        if not self.no_error and 2 * self.zeros_with_right_answer >= self.only[0] > 0:
            return None
        return 0


@dataclass(frozen=True, kw_only=True)
class PlainColumns:
    """A solution format that reads mapped columns.

    `fields` are the columns that the user mapped, and `labels_by` is the method that made the
    labels. `labels_from` is the number of the first step in `label`.
    """

    shape: ProblemFormat
    fields: Mapping[str, str]
    splitter: Splitter
    labels_by: str
    labels_from: int = 0

    domain: str = ""

    version: ClassVar[int] = 3

    @property
    def has_unknown_base(self) -> bool:
        """Whether labels may be counted from 0 or 1; the labels of a named shape are not."""
        columns = self.shape.solutions
        is_named = bool(self.shape.name) and "label" not in self.fields
        return "label" in columns and not is_named

    def add_evidence(self, row: Row, evidence: LabelEvidence) -> None:
        """Add the labels of a row to the evidence; those that cannot be read are left out."""
        for columns, _ in self._solution_columns(row):
            if is_missing(_value(row, columns, "label")):
                continue
            try:
                label = _label_number(row, columns)
                steps, _ = self._steps(row, columns)
                verdicts = _step_labels(row, columns, len(steps))
                outcome, _ = _outcome(row, columns)
            except UnusableError:
                continue
            if label is None:
                continue
            first_error = None
            if verdicts is not None:
                first_error = first_error_of(verdicts)
            evidence.add(
                label,
                len(steps),
                first_error=first_error,
                has_right_answer=outcome is Verdict.CORRECT,
            )

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
        step_annotations = self._step_annotations(row, columns, len(steps))
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
            metadata={
                **splitting.thinking_metadata(steps, self.splitter.how),
                **metadata_of(row, columns),
            },
        )

    def _steps(self, row: Row, columns: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
        """Return the steps, and the separator that was added to steps from a list."""
        listed = _value(row, columns, "steps")
        if isinstance(listed, str):
            column = columns["steps"]
            raise UnusableError(column, f"a text, not a list; --map solution={column} reads texts")
        if listed is not None:
            return splitting.append_separator(texts_at(row.value, columns["steps"]))
        value = _value(row, columns, "solution")
        column = _solution_column(columns)
        if isinstance(value, list):
            raise UnusableError(column, f"a list, not text; --map steps={column} reads lists")
        text = text_of(value, column)
        has_labels = any(_value(row, columns, name) is not None for name in LABEL_FIELDS)
        if has_labels:
            return splitting.split(text, self.splitter.how, join_sums=False), None
        return self.splitter(text), None

    def _step_annotations(
        self, row: Row, columns: Mapping[str, str], count: int
    ) -> tuple[StepAnnotation, ...] | None:
        """Return one annotation per step, or None for a solution without labels."""
        label = _first_error_label(row, columns, count, self.labels_from)
        verdicts = _step_labels(row, columns, count)
        if verdicts is None:
            if label is None:
                return None
            verdicts = _verdicts_from_label(label, count)
        elif label is not None and label != first_error_of(verdicts):
            raise UnusableError(
                columns["label"],
                f"{_label_number(row, columns)} is not the first wrong step of "
                f"{columns['step_labels']}",
            )
        return tuple(annotation_of(verdict) for verdict in verdicts)


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


def _verdicts_from_label(label: int, count: int) -> Sequence[Verdict]:
    if label == NO_ERROR:
        return [Verdict.CORRECT] * count
    after_error = count - label - 1
    return [Verdict.CORRECT] * label + [Verdict.INCORRECT] + [Verdict.UNKNOWN] * after_error


def _first_error_label(row: Row, columns: Mapping[str, str], count: int, base: int) -> int | None:
    """Return the index (0-based) of the first wrong step, `NO_ERROR`, or None without a label."""
    label = _label_number(row, columns)
    if label is None or label == NO_ERROR:
        return label
    if not base <= label < base + count:
        raise UnusableError(
            columns["label"],
            f"{label}, but the {count} steps are {base} to {base + count - 1}, "
            f"and {NO_ERROR} is no error",
        )
    return label - base


def _label_number(row: Row, columns: Mapping[str, str]) -> int | None:
    """Return the label as the row has it, or None without one."""
    value = _text(row, columns, "label")
    if value is None or value.lower() in NULL_LABELS:
        return None
    # Tables that contain nulls often store integers as floats.
    number = value.removesuffix(".0")
    if not number.removeprefix("-").isdecimal() or len(number) > len(str(MAX_CHARACTERS)):
        raise UnusableError(columns["label"], "not the number of a step")
    return int(number)


def _step_labels(row: Row, columns: Mapping[str, str], count: int) -> Sequence[Verdict] | None:
    if _value(row, columns, "step_labels") is None:
        return None
    column = columns["step_labels"]
    labels = list_at(row.value, column)
    if len(labels) != count:
        raise UnusableError(column, f"{len(labels)} labels for {count} steps")
    verdicts: list[Verdict] = []
    for index, value in enumerate(labels):
        if is_missing(value):
            verdicts.append(Verdict.UNKNOWN)
        else:
            verdicts.append(_verdict(value, f"{column}.{index}"))
    if all(verdict is Verdict.UNKNOWN for verdict in verdicts):
        return None
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
    """Return the value of a field; None if it is absent, null or NaN."""
    if name not in columns:
        return None
    value = value_at(row.value, columns[name])
    return None if is_missing(value) else value


def _text(row: Row, columns: Mapping[str, str], name: str) -> str | None:
    if name not in columns:
        return None
    return number_or_text_at(row.value, columns[name])
