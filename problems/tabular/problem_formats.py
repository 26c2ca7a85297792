"""The dataset formats that Stepmark knows by name, and the conversion of a row into a problem.

To add a format whose columns can be mapped, add an entry to `PROBLEM_FORMATS`. Formats with
`solutions` contain traces too, which `problems.tabular.plain_columns` reads. A format that a
mapping of columns cannot describe (ratings, markers, trees) is a module in
`problems.solution_formats`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from problems.base import problem_id_of
from problems.tabular.columns import UnusableError, number_or_text_at, text_of, value_at
from problems.tabular.readers import Row
from problems.tabular.references import reference_at, stated_reference
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.final_answers import final_answer
from stepmark.records import Problem

__all__ = [
    "PROBLEM_FIELDS",
    "PROBLEM_FORMATS",
    "SOLUTION_FIELDS",
    "ProblemFormat",
    "metadata_of",
    "needed_columns",
    "problem_format_of",
]

PROBLEM_FIELDS = ("question", "answer", "reference_solution", "domain", "license", "source")
SOLUTION_FIELDS = ("solution", "steps", "label", "step_labels", "correct", "model", "final_answer")
METADATA = "metadata."


def _after_hashes(answer: str) -> str | None:
    if "####" not in answer:
        return None
    return answer.rpartition("####")[2].strip()


@dataclass(frozen=True, kw_only=True)
class ProblemFormat:
    """The columns of a dataset: a mapping from Stepmark's fields to dotted paths in a row.

    `metadata.NAME` stores a column in the metadata under NAME. `read_answer` extracts the reference
    answer from the text of `answer`; without that column, it is the final answer of
    `reference_solution`. In `solutions`, a path that starts with `*.` stands for every column that
    contains the rest of the path, and the name of the column is the name of the model.
    """

    columns: Mapping[str, str]
    name: str = ""
    """The key in `PROBLEM_FORMATS`; "" for plain columns."""
    solutions: Mapping[str, str] = field(default_factory=dict)
    read_answer: Callable[[str], str | None] = stated_reference
    domain: str = ""
    license: str = ""
    source: str = ""

    def problem(self, row: Row) -> Problem:
        """Return the problem in a row.

        Raises:
            UnusableError: The row has no usable question or answer.
        """
        question_column = self.columns["question"]
        question = text_of(value_at(row.value, question_column), question_column)
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
        text = None
        if "answer" in self.columns:
            text = reference_at(row.value, self.columns["answer"])
        if text is None:
            solution = self._text("reference_solution", row)
            if solution is None:
                return None
            return final_answer(solution)
        answer = self.read_answer(text)
        if not answer:
            raise UnusableError(
                self.columns["answer"], "does not state a final answer as this shape does"
            )
        return answer

    def _text(self, name: str, row: Row) -> str | None:
        if name not in self.columns:
            return None
        return number_or_text_at(row.value, self.columns[name])


_PLAIN = ProblemFormat(
    columns={"question": "question", "answer": "answer"},
    solutions={name: name for name in SOLUTION_FIELDS},
)

PROBLEM_FORMATS: Mapping[str, ProblemFormat] = {
    # openai/grade-school-math: the answer is a worked solution that ends in "#### 18".
    "gsm8k": ProblemFormat(
        columns={"question": "question", "answer": "answer"},
        read_answer=_after_hashes,
        domain="math",
    ),
    # openai/grade-school-math, example_model_solutions.jsonl: one column per model with the keys
    # "solution" and "is_correct"; answers end in "A: 18".
    "gsm8k_solutions": ProblemFormat(
        columns={"question": "question", "answer": "ground_truth"},
        solutions={"solution": "*.solution", "correct": "*.is_correct"},
        read_answer=final_answer,
        domain="math",
    ),
    # hendrycks/math: the answer is in the last \boxed{} of the solution. Derived datasets add a
    # column with the answer alone.
    "math": ProblemFormat(
        columns={"question": "problem", "answer": "answer", "reference_solution": "solution"},
        domain="math",
    ),
    # Qwen/ProcessBench (arXiv 2412.06559): no reference answer; `label` is the first wrong step as
    # marked by people.
    "processbench": ProblemFormat(
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


def problem_format_of(
    name: str, fields: Mapping[str, str], *, with_solutions: bool = False
) -> ProblemFormat:
    """Return a format with the user's mapping of fields applied to it.

    Args:
        name: A key of `PROBLEM_FORMATS`; "" for plain columns.
        fields: Paths by field name; they override those of the format.
        with_solutions: Accept only formats with solutions, and map solution fields too.

    Raises:
        ConfigError: The name or a field is unknown.
    """
    problem_format = _PLAIN
    if name:
        problem_format = _named_format(name, with_solutions=with_solutions)
    if not with_solutions:
        _reject_unknown(fields, PROBLEM_FIELDS)
        return replace(problem_format, columns={**problem_format.columns, **fields})
    _reject_unknown(fields, (*PROBLEM_FIELDS, *SOLUTION_FIELDS))
    columns = dict(problem_format.columns)
    solutions = dict(problem_format.solutions)
    for ours, theirs in fields.items():
        # With solutions, metadata belongs to the trace.
        if ours in SOLUTION_FIELDS or ours.startswith(METADATA):
            solutions[ours] = theirs
        else:
            columns[ours] = theirs
    return replace(problem_format, columns=columns, solutions=solutions)


def _named_format(name: str, *, with_solutions: bool) -> ProblemFormat:
    formats = dict(PROBLEM_FORMATS)
    kind = "shape"
    plugin_names: tuple[str, ...] = ()
    if with_solutions:
        formats = {key: value for key, value in PROBLEM_FORMATS.items() if value.solutions}
        kind = "shape with solutions"
        plugin_names = plugins.available("problems.shapes")
    if name not in formats:
        listing = ", ".join((*formats, *plugin_names))
        raise ConfigError(
            f"no {kind} is called '{name}'; there are: {listing};"
            " or map your own columns with fields"
        )
    return replace(formats[name], name=name)


def metadata_of(row: Row, columns: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values of the columns that are mapped to `metadata.NAME`, by NAME."""
    metadata: dict[str, str] = {}
    for ours, theirs in columns.items():
        if ours.startswith(METADATA):
            value = number_or_text_at(row.value, theirs)
            if value is not None:
                metadata[ours.removeprefix(METADATA)] = value
    return metadata


def needed_columns(
    problem_format: ProblemFormat, fields: Mapping[str, str]
) -> Sequence[Sequence[str]]:
    """Return groups of alternative columns that every file of this format has.

    These are the question and all columns that the user mapped.
    """
    mapped = [(theirs,) for ours, theirs in fields.items() if ours != "question"]
    return [(problem_format.columns["question"],), *mapped]


def _reject_unknown(fields: Mapping[str, str], known_fields: tuple[str, ...]) -> None:
    for name in fields:
        is_metadata = name.startswith(METADATA) and len(name) > len(METADATA)
        if name not in known_fields and not is_metadata:
            listing = ", ".join(known_fields)
            raise ConfigError(
                f"fields: '{name}' is no field of Stepmark; there are: {listing}, metadata.NAME"
            )
