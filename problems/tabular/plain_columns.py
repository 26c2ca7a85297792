"""Solutions out of rows whose columns a `Shape` names: a text or a list of steps, and whatever is known of it beside.

Steps given as a list stay the steps (`stepmark.steps.joinable`). A solution given as one text is cut by `split`; labels beside it
count the steps of that very cut. A label is the first wrong step: what comes before it is right, what comes after it is unknown.
`step_labels` say it step by step: true, 1, "+" or false, 0, "-" or null for unknown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from problems.solution_formats.base import NOT_GRADED, Solution, list_at, said_of, texts_at
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, at, number_or_text_at, text_of
from problems.tabular.problem_formats import Shape, metadata_of, needed_columns
from problems.tabular.readers import Row
from stepmark import steps as splitting
from stepmark.records import NO_ERROR, Problem, StepAnnotation, Verdict, first_error_of

__all__ = ["Flat"]

TRUTH: Mapping[str, bool] = {
    "true": True,
    "1": True,
    "1.0": True,
    "+": True,
    "false": False,
    "0": False,
    "0.0": False,
    "-": False,
}
VERDICTS: Mapping[bool | None, Verdict] = {
    True: Verdict.CORRECT,
    False: Verdict.INCORRECT,
    None: Verdict.UNKNOWN,
}


@dataclass(frozen=True, kw_only=True)
class Flat:
    """The solutions of rows in a shape of columns; `fields` are those the user mapped, `labels_by` is the method that labelled them."""

    shape: Shape
    fields: Mapping[str, str]
    split: str
    labels_by: str

    domain: str = ""

    version: ClassVar[int] = 2

    @property
    def needed(self) -> Sequence[Sequence[str]]:
        """Groups of alternative columns without which a file is of another shape."""
        return [
            *needed_columns(self.shape, self.fields),
            [self.shape.solutions[name] for name in ("solution", "steps") if self._has(name)],
        ]

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The row's solutions: one, or one a model where a column's path starts with `*.`."""
        problem = self.shape.problem(row)
        found = False
        for columns, model in self._columns(row):
            found = True
            try:
                yield self._solution(row, problem, columns, model)
            except UnusableError as error:
                yield error
        if not found:
            raise UnusableError(self._column(self.shape.solutions), "no solution in this row")

    def _columns(self, row: Row) -> Iterator[tuple[Mapping[str, str], str]]:
        """The columns of each solution of the row, and the model that a `*` stands for."""
        columns = self.shape.solutions
        starred = next(
            (
                column
                for name in ("solution", "steps")
                if (column := columns.get(name, "")).startswith("*.")
            ),
            "",
        )
        if not starred:
            yield columns, ""
            return
        for model, value in row.value.items():
            if isinstance(value, Mapping) and at(value, starred[2:]) is not None:
                yield (
                    {
                        ours: f"{model}{theirs[1:]}" if theirs.startswith("*.") else theirs
                        for ours, theirs in columns.items()
                    },
                    model,
                )

    def _solution(
        self, row: Row, problem: Problem, columns: Mapping[str, str], model: str
    ) -> Solution:
        steps, separator = self._steps(row, columns)
        outcome, reason = _outcome(row, columns)
        annotation = _annotation(row, columns, len(steps))
        return Solution(
            problem=problem,
            column=self._column(columns),
            steps=steps,
            separator=separator,
            model=_text(row, columns, "model") or model,
            final_answer=_text(row, columns, "final_answer"),
            outcome=outcome,
            outcome_reason=reason,
            annotations={} if annotation is None else {self.labels_by: annotation},
            metadata=metadata_of(row, columns),
        )

    def _steps(self, row: Row, columns: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
        if _value(row, columns, "steps") is None:
            return splitting.split(
                text_of(_value(row, columns, "solution"), self._column(columns)), self.split
            ), None
        return splitting.joinable(texts_at(row.value, columns["steps"]))

    def _has(self, name: str) -> bool:
        return name in self.shape.solutions

    def _column(self, columns: Mapping[str, str]) -> str:
        return columns.get("solution", columns.get("steps", ""))


def _annotation(
    row: Row, columns: Mapping[str, str], count: int
) -> tuple[StepAnnotation, ...] | None:
    label, rated = _label(row, columns, count), _step_labels(row, columns, count)
    if rated is None:
        return None if label is None else _marked(label, count)
    if label is not None and label != first_error_of(rated):
        raise UnusableError(
            columns["label"], f"{label} is not the first wrong step of {columns['step_labels']}"
        )
    return tuple(map(said_of, rated))


def _marked(label: int, count: int) -> tuple[StepAnnotation, ...]:
    right = count if label == NO_ERROR else label
    verdicts = (
        [Verdict.CORRECT] * right
        + [Verdict.INCORRECT] * (right < count)
        + [Verdict.UNKNOWN] * (count - right - 1)
    )
    return tuple(map(said_of, verdicts))


def _label(row: Row, columns: Mapping[str, str], count: int) -> int | None:
    """The first wrong step, None where nothing is said of it."""
    value = _text(row, columns, "label")
    if value is None:
        return None
    number = value.removesuffix(".0")
    if not number.removeprefix("-").isdecimal() or len(number) > len(str(MAX_CHARACTERS)):
        raise UnusableError(columns["label"], "not a step's index")
    label = int(number)
    if not NO_ERROR <= label < count:
        raise UnusableError(
            columns["label"],
            f"{label}, where the {count} steps are 0 to {count - 1} and {NO_ERROR} is none",
        )
    return label


def _step_labels(row: Row, columns: Mapping[str, str], count: int) -> Sequence[Verdict] | None:
    if _value(row, columns, "step_labels") is None:
        return None
    column = columns["step_labels"]
    given = list_at(row.value, column)
    if len(given) != count:
        raise UnusableError(column, f"{len(given)} labels for {count} steps")
    return [
        VERDICTS[None if value is None else _truth(value, f"{column}.{index}")]
        for index, value in enumerate(given)
    ]


def _outcome(row: Row, columns: Mapping[str, str]) -> tuple[Verdict, str]:
    value = _value(row, columns, "correct")
    if value is None:
        return Verdict.UNKNOWN, NOT_GRADED
    right = _truth(value, columns["correct"])
    return VERDICTS[right], f"as given: {columns['correct']} = {'true' if right else 'false'}"


def _truth(value: object, column: str) -> bool:
    text = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    if text not in TRUTH:
        raise UnusableError(column, "neither true nor false")
    return TRUTH[text]


def _value(row: Row, columns: Mapping[str, str], name: str) -> Any:
    return at(row.value, columns[name]) if name in columns else None


def _text(row: Row, columns: Mapping[str, str], name: str) -> str | None:
    return number_or_text_at(row.value, columns[name]) if name in columns else None
