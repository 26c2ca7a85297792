"""Importing: other people's solutions keep their steps, their labels and their outcomes, and nothing is guessed."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.importing.importer import Imported, import_traces
from problems.solution_formats.base import NOT_GRADED
from stepmark import plugins
from stepmark.errors import ConfigError, InputError
from stepmark.records import Rejected, Verdict, first_error_of
from stepmark.steps import SEPARATOR

SAMPLES = Path(__file__).parents[1] / "problems" / "samples"
PROCESSBENCH = SAMPLES / "processbench.jsonl"
ROW = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 3.\nThe answer is 3."}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def imported(*paths: object, **arguments: Any) -> list[Imported]:
    found = list(import_traces([str(path) for path in paths], **arguments))
    assert not [item for item in found if isinstance(item, Rejected)]
    return [item for item in found if isinstance(item, Imported)]


def one(tmp_path: Path, row: dict[str, Any], **arguments: Any) -> Imported | Rejected:
    (item,) = import_traces([write(tmp_path / "x.jsonl", row)], **arguments)
    return item


def trace_of(tmp_path: Path, row: dict[str, Any], **arguments: Any) -> Imported:
    item = one(tmp_path, row, **arguments)
    assert isinstance(item, Imported)
    return item


def test_processbench_keeps_steps_labels_and_outcomes() -> None:
    rows = [json.loads(line) for line in PROCESSBENCH.read_text().splitlines()]
    for row, item in zip(
        rows, imported(PROCESSBENCH, shape="processbench", license="Apache-2.0"), strict=True
    ):
        assert "".join(item.trace.steps) == "\n\n".join(row["steps"])
        assert len(item.trace.steps) == len(row["steps"])
        assert item.trace.model == row["generator"]
        assert item.trace.metadata == {"id": row["id"], SEPARATOR: "\n\n"}
        assert item.trace.outcome is (
            Verdict.CORRECT if row["final_answer_correct"] else Verdict.INCORRECT
        )
        assert item.trace.outcome_reason.startswith("as given: final_answer_correct = ")
        assert (item.problem.license, item.problem.source, item.problem.answer) == (
            "Apache-2.0",
            "processbench.jsonl",
            None,
        )


def test_a_human_label_is_correct_before_incorrect_at_and_unknown_after() -> None:
    found = imported(PROCESSBENCH, shape="processbench")
    assert [annotation.first_error for item in found for annotation in item.annotations] == [
        -1,
        2,
        0,
        0,
    ]
    for item in found:
        [annotation] = item.annotations
        verdicts = [step.verdict for step in annotation.steps]
        assert (annotation.method, annotation.trace_id) == ("human", item.trace.trace_id)
        assert len(verdicts) == len(item.trace.steps)
        assert first_error_of(verdicts) == annotation.first_error
    assert "".join(step.verdict.value[0] for step in found[1].annotations[0].steps) == "cciuu"


def test_gsm8k_solutions_are_several_models_on_one_problem() -> None:
    found = imported(SAMPLES / "gsm8k_solutions.jsonl", shape="gsm8k_solutions")
    assert len(found) == 12
    assert len({item.problem.problem_id for item in found}) == 3
    assert [item.trace.model for item in found[:4]] == [
        "6b_finetuning",
        "6b_verification",
        "175b_finetuning",
        "175b_verification",
    ]
    assert [(item.trace.final_answer, item.trace.outcome.value) for item in found[2:4]] == [
        ("4", "incorrect"),
        ("18", "correct"),
    ]
    assert found[3].trace.steps[0].endswith("duck eggs are used\n")
    assert found[3].trace.outcome_reason == "as given: 175b_verification.is_correct = true"


def test_a_trace_without_an_outcome_is_not_graded(tmp_path: Path) -> None:
    item = trace_of(tmp_path, ROW)
    assert item.trace.steps == ("1 + 1 = 3.\n", "The answer is 3.")
    assert (item.trace.outcome, item.trace.outcome_reason, item.trace.final_answer) == (
        Verdict.UNKNOWN,
        NOT_GRADED,
        "3",
    )
    assert (item.annotations, item.trace.model) == ((), "unknown")


def test_columns_are_mapped(tmp_path: Path) -> None:
    row = {
        "q": "1 + 1?",
        "out": {"text": "It is 2. Done.", "ok": "True", "who": "gpt-x", "gives": 2, "bad": "1.0"},
        "no": 7,
    }
    fields = {
        "question": "q",
        "solution": "out.text",
        "correct": "out.ok",
        "model": "out.who",
        "final_answer": "out.gives",
    }
    fields |= {"label": "out.bad", "metadata.number": "no"}
    item = trace_of(tmp_path, row, fields=fields, split="sentence", labels_by="somebody")
    assert item.trace.steps == ("It is 2. ", "Done.")
    assert (item.trace.outcome, item.trace.model, item.trace.final_answer) == (
        Verdict.CORRECT,
        "gpt-x",
        "2",
    )
    assert item.trace.metadata == {"number": "7"}
    [annotation] = item.annotations
    assert (annotation.method, annotation.first_error) == ("somebody", 1)


def test_a_star_names_the_models(tmp_path: Path) -> None:
    row = {
        "question": "a",
        "gpt-3.5": {"steps": ["x", "y"]},
        "other": {"steps": ["z"]},
        "empty": {"steps": None},
        "note": "n",
    }
    path = write(tmp_path / "x.jsonl", row)
    assert [item.trace.model for item in imported(path, fields={"steps": "*.steps"})] == [
        "gpt-3.5",
        "other",
    ]


@pytest.mark.parametrize(
    ("listed", "steps"),
    [
        (["a", "b", "c"], ("a\n\n", "b\n\n", "c")),
        (["a\n", "b\n", "c\n"], ("a\n", "b\n", "c\n")),
        (["a\n", "b", "c"], ("a\n", "b", "c")),
        (["a", "b\n"], ("a\n\n", "b\n")),
        (["a"], ("a",)),
    ],
)
def test_listed_steps_stay_the_steps_and_join_to_a_text(
    tmp_path: Path, listed: list[str], steps: tuple[str, ...]
) -> None:
    assert trace_of(tmp_path, {"question": "a", "steps": listed}).trace.steps == steps


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        ({"question": None}, "question", "missing"),
        ({"solution": None}, "solution", "missing"),
        ({"solution": 3}, "solution", "a int, not text"),
        ({"solution": "a\ud800"}, "solution", "not UTF-8"),
        ({"steps": []}, "steps", "an empty list"),
        ({"steps": "a"}, "steps", "a str, not a list"),
        ({"steps": ["a", ""]}, "steps.1", "empty"),
        ({"steps": ["a", None]}, "steps.1", "missing"),
        ({"steps": ["a" * 600_000] * 2}, "steps", "longer than 1,000,000 characters"),
        ({"label": 2}, "label", "2, where the 2 steps are 0 to 1 and -1 is none"),
        ({"label": -2}, "label", "-2, where"),
        ({"label": 0.5}, "label", "not a step's index"),
        ({"label": True}, "label", "a bool, not text"),
        ({"label": "first"}, "label", "not a step's index"),
        ({"label": float("nan")}, "label", "nan, not a number"),
        ({"steps": ["a", "b"], "step_labels": [True]}, "step_labels", "1 labels for 2 steps"),
        ({"correct": "maybe"}, "correct", "neither true nor false"),
        ({"correct": []}, "correct", "neither true nor false"),
    ],
)
def test_a_solution_that_cannot_be_used_is_set_aside(
    tmp_path: Path, changed: dict[str, Any], field: str, reason: str
) -> None:
    path = write(tmp_path / "x.jsonl", {**ROW, **changed}, ROW)
    bad, good = import_traces([path])
    assert isinstance(bad, Rejected)
    assert (bad.file, bad.row, bad.field) == (path, 1, field)
    assert bad.reason.startswith(reason)
    assert isinstance(good, Imported)


def test_one_bad_solution_of_a_row_does_not_cost_the_others(tmp_path: Path) -> None:
    row = {"question": "a", "m1": {"solution": ""}, "m2": {"solution": "x", "is_correct": 0}}
    bad, good = import_traces(
        [write(tmp_path / "x.jsonl", row)],
        fields={"solution": "*.solution", "correct": "*.is_correct"},
    )
    assert isinstance(bad, Rejected)
    assert bad.field == "m1.solution"
    assert isinstance(good, Imported)
    assert good.trace.outcome is Verdict.INCORRECT


def test_a_row_without_any_solution_is_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"question": "a"}, {"question": "b", "m": {"solution": "x"}})
    bad, _ = import_traces([path], shape="gsm8k_solutions")
    assert bad == Rejected(file=path, row=1, field="*.solution", reason="no solution in this row")


def test_a_repeated_trace_is_set_aside_and_another_models_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", ROW, ROW, {**ROW, "model": "b"})
    first, again, other = import_traces([path, write(tmp_path / "y.jsonl")])
    assert isinstance(first, Imported)
    assert isinstance(other, Imported)
    assert again == Rejected(
        file=path,
        row=2,
        field="solution",
        reason=f"the same trace as an earlier one ({first.trace.trace_id})",
    )


def test_ids_derive_from_content(tmp_path: Path) -> None:
    first = trace_of(tmp_path, ROW).trace
    assert trace_of(tmp_path, {**ROW, "correct": True, "label": 0}).trace.trace_id == first.trace_id
    assert trace_of(tmp_path, ROW, split="blank_line").trace.trace_id != first.trace_id
    assert trace_of(tmp_path, {**ROW, "answer": "3"}).trace.trace_id != first.trace_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"shape": "math"},
            "no shape with solutions is called 'math'; there are: gsm8k_solutions, processbench, math_aps",
        ),
        ({"split": "words"}, "no way of splitting called 'words'"),
        (
            {"labels_by": "A person"},
            "'A person' cannot name the method that made the labels; use a-z",
        ),
        (
            {"shape": "prm800k", "fields": {"label": "x"}},
            "the shape prm800k defines its columns and the method of its labels",
        ),
        (
            {"shape": "prm800k", "labels_by": "me"},
            "the shape prm800k defines its columns and the method of its labels",
        ),
        (
            {"fields": {"outcome": "x"}},
            "fields: 'outcome' is none of ours; there are: question, answer, reference_solution",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_row(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        import_traces([write(tmp_path / "x.jsonl", ROW)], **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no field 'solution' or 'steps'; it has: question, response"),
        ({"solution": "answer"}, "has no field 'answer'; it has: question, response"),
        ({"solution": "*.text"}, r"has no field '\*\.text'; it has: question, response"),
    ],
)
def test_a_field_that_the_file_does_not_have(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "x.jsonl", {"question": "a", "response": "b"})
    with pytest.raises(InputError, match=message):
        list(import_traces([path], fields=fields))


@pytest.mark.parametrize("name", plugins.available("problems.shapes"))
def test_a_bad_row_of_a_known_shape_costs_no_other(tmp_path: Path, name: str) -> None:
    lines = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    whole = import_traces([str(SAMPLES / f"{name}.jsonl")], shape=name)
    bad = ["[]", "{}", "nonsense", '{"question": 1, "input": [], "original_process": {}}']
    path = tmp_path / f"{name}.jsonl"
    path.write_text(
        "\n".join(line for pair in zip(lines, bad * 2, strict=False) for line in pair),
        encoding="utf-8",
    )
    mixed = list(import_traces([str(path)], shape=name))
    assert [item for item in mixed if isinstance(item, Imported)] == [
        item for item in whole if isinstance(item, Imported)
    ]
    aside = [item.row for item in mixed if isinstance(item, Rejected)]
    assert {row for row in range(1, 2 * len(lines)) if row % 2 == 0} <= set(aside)


@pytest.mark.parametrize("name", ["prm800k", "prmbench", "math_shepherd"])
def test_parquet_says_the_same_as_json_lines(tmp_path: Path, name: str) -> None:
    source, copy = SAMPLES / f"{name}.jsonl", tmp_path / f"{name}.parquet"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    columns = dict.fromkeys(name for row in rows for name in row)
    pq.write_table(pa.Table.from_pylist([columns | row for row in rows]), copy)
    found, again = (
        [item for item in import_traces([str(path)], shape=name) if isinstance(item, Imported)]
        for path in (source, copy)
    )
    assert [(item.trace, item.annotations) for item in found] == [
        (item.trace, item.annotations) for item in again
    ]


@pytest.mark.parametrize("name", plugins.available("problems.shapes"))
def test_a_file_of_another_shape_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="has no field"):
        list(import_traces([write(tmp_path / "x.jsonl", {"a": 1})], shape=name))


def test_a_trace_that_rows_share_is_imported_once_and_no_flaw() -> None:
    found = list(
        import_traces(
            [str(SAMPLES / "prmbench.jsonl")],
            shape="prmbench",
            domain="maths",
            license="Apache-2.0",
        )
    )
    assert [item.row for item in found if isinstance(item, Rejected)] == [5]
    originals = [
        item
        for item in found
        if isinstance(item, Imported) and item.trace.metadata["process"] == "original"
    ]
    assert len(originals) == 2  # the row with a ground truth asks another problem
    assert {
        (item.problem.domain, item.problem.license, item.problem.source) for item in originals
    } == {("maths", "Apache-2.0", "prmbench.jsonl")}
