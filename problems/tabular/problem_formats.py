"""The shapes of data sets that Stepmark knows by name, and how a row of one becomes a problem.

Adding a shape is adding an entry to `SHAPES`. Shapes with `solutions` hold traces too: `problems._flat` reads those. What a table of
columns cannot say (ratings, markers, trees) is a file in `problems/shapes/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from problems.base import problem_id_of
from problems.tabular.columns import UnusableError, at, number_or_text_at, text_of
from problems.tabular.readers import Row
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.final_answers import final_answer
from stepmark.records import Problem

__all__ = [
    "PROBLEM_FIELDS",
    "SHAPES",
    "SOLUTION_FIELDS",
    "Shape",
    "metadata_of",
    "needed_columns",
    "shape_of",
]

PROBLEM_FIELDS = ("question", "answer", "reference_solution", "domain", "license", "source")
SOLUTION_FIELDS = ("solution", "steps", "label", "step_labels", "correct", "model", "final_answer")
METADATA = "metadata."


def _as_written(answer: str) -> str | None:
    return answer


def _after_hashes(answer: str) -> str | None:
    return answer.rpartition("####")[2].strip() if "####" in answer else None


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Where rows keep what we ask for: our field -> the dotted path of theirs; `metadata.NAME` keeps a column beside it.

    `read_answer` finds the reference answer in the text of `answer`; where there is none, it is what `reference_solution` states.
    In `solutions`, a path that starts with `*.` stands for every column with such a part, and the column names the model.
    """

    columns: Mapping[str, str]
    solutions: Mapping[str, str] = field(default_factory=dict)
    read_answer: Callable[[str], str | None] = _as_written
    domain: str = ""
    license: str = ""
    source: str = ""

    def problem(self, row: Row) -> Problem:
        """The row's problem; `UnusableError` when it has none."""
        question = text_of(at(row.value, self.columns["question"]), self.columns["question"])
        answer = self._answer(row)
        return Problem(
            problem_id=problem_id_of(question, answer),
            question=question,
            answer=answer,
            domain=self._text("domain", row) or self.domain,
            source=self._text("source", row) or self.source,
            license=self._text("license", row) or self.license,
            metadata=metadata_of(row, self.columns),
        )

    def _answer(self, row: Row) -> str | None:
        answer = self._text("answer", row)
        if answer is not None:
            return self._read(answer)
        solution = self._text("reference_solution", row)
        return None if solution is None else final_answer(solution)

    def _read(self, answer: str) -> str:
        found = self.read_answer(answer)
        if not found:
            raise UnusableError(
                self.columns["answer"], "states no final answer in the way of this shape"
            )
        return found

    def _text(self, name: str, row: Row) -> str | None:
        return number_or_text_at(row.value, self.columns[name]) if name in self.columns else None


_PLAIN = Shape(
    columns={"question": "question", "answer": "answer"},
    solutions={name: name for name in SOLUTION_FIELDS},
)

SHAPES: Mapping[str, Shape] = {
    # openai/grade-school-math: the answer is a worked solution that ends in "#### 18".
    "gsm8k": Shape(
        columns={"question": "question", "answer": "answer"},
        read_answer=_after_hashes,
        domain="math",
    ),
    # openai/grade-school-math, example_model_solutions.jsonl: one column per model, {"solution", "is_correct"}; answers end in "A: 18".
    "gsm8k_solutions": Shape(
        columns={"question": "question", "answer": "ground_truth"},
        solutions={"solution": "*.solution", "correct": "*.is_correct"},
        read_answer=final_answer,
        domain="math",
    ),
    # hendrycks/math: the answer is in the last \boxed{} of the solution; derived sets add a column with the answer alone.
    "math": Shape(
        columns={"question": "problem", "answer": "answer", "reference_solution": "solution"},
        domain="math",
    ),
    # Qwen/ProcessBench (arXiv 2412.06559): no reference answer; the first wrong step as people marked it.
    "processbench": Shape(
        columns={"question": "problem"},
        solutions={
            "steps": "steps",
            "label": "label",
            "correct": "final_answer_correct",
            "model": "generator",
            "metadata.id": "id",
        },
        domain="math",
    ),
}


def shape_of(name: str, fields: Mapping[str, str], *, with_solutions: bool = False) -> Shape:
    """The shape called `name` ("" for plain columns) with the user's own map laid over it; `ConfigError` for what cannot be."""
    known = {key: shape for key, shape in SHAPES.items() if shape.solutions or not with_solutions}
    if name and name not in known:
        kind, others = (
            ("shape with solutions", plugins.available("problems.shapes"))
            if with_solutions
            else ("shape", ())
        )
        raise ConfigError(
            f"no {kind} is called '{name}'; there are: {', '.join((*known, *others))}; or map your own columns with fields"
        )
    _refuse_unknown(fields, (*PROBLEM_FIELDS, *(SOLUTION_FIELDS if with_solutions else ())))
    shape = known[name] if name else _PLAIN
    solutions = _solution_fields(fields) if with_solutions else {}
    columns = {ours: theirs for ours, theirs in fields.items() if ours not in solutions}
    return replace(
        shape, columns={**shape.columns, **columns}, solutions={**shape.solutions, **solutions}
    )


def metadata_of(row: Row, columns: Mapping[str, str]) -> Mapping[str, str]:
    """What the row has of the columns that are to be kept beside."""
    kept = {
        ours.removeprefix(METADATA): theirs
        for ours, theirs in columns.items()
        if ours.startswith(METADATA)
    }
    values = {name: number_or_text_at(row.value, theirs) for name, theirs in kept.items()}
    return {name: value for name, value in values.items() if value is not None}


def needed_columns(shape: Shape, fields: Mapping[str, str]) -> Sequence[Sequence[str]]:
    """Groups of alternative columns without which a file is of another shape: its question, and whatever the user named."""
    named = [(theirs,) for ours, theirs in fields.items() if ours != "question"]
    return [(shape.columns["question"],), *named]


def _solution_fields(fields: Mapping[str, str]) -> Mapping[str, str]:
    return {
        ours: theirs
        for ours, theirs in fields.items()
        if ours in SOLUTION_FIELDS or ours.startswith(METADATA)
    }


def _refuse_unknown(fields: Mapping[str, str], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known and not (name.startswith(METADATA) and len(name) > len(METADATA)):
            raise ConfigError(
                f"fields: '{name}' is none of ours; there are: {', '.join(known)}, metadata.NAME"
            )
