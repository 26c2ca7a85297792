"""Import of existing solutions: steps, labels and outcomes are kept, and nothing is guessed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.importing.importer import OTHER_LABELS, Imported, import_traces
from problems.solution_formats.base import NOT_GRADED
from stepmark import plugins
from stepmark.errors import ConfigError, InputError
from stepmark.records import Rejected, Verdict, first_error_of
from stepmark.steps import SEPARATOR
from tests.columns import column
from tests.json_lines import read_json_lines, write_json_lines

SAMPLES = Path(__file__).parents[1] / "problems" / "samples"
PROCESSBENCH = SAMPLES / "processbench.jsonl"
ROW = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 3.\nThe answer is 3."}


def imported(*paths: object, **arguments: Any) -> list[Imported]:
    """Import files that have no unusable row."""
    items = list[Imported]()
    for item in import_traces([str(path) for path in paths], **arguments):
        assert isinstance(item, Imported)
        items.append(item)
    return items


def imported_only(items: Iterable[Imported | Rejected]) -> list[Imported]:
    return [item for item in items if isinstance(item, Imported)]


def rejected_only(items: Iterable[Imported | Rejected]) -> list[Rejected]:
    return [item for item in items if isinstance(item, Rejected)]


def import_row(tmp_path: Path, row: dict[str, Any], **arguments: Any) -> Imported:
    """Import a file with a single row, which must be usable."""
    (item,) = import_traces([write_json_lines(tmp_path / "x.jsonl", row)], **arguments)
    assert isinstance(item, Imported)
    return item


def test_processbench_keeps_steps_and_outcomes() -> None:
    rows = read_json_lines(PROCESSBENCH)
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


def test_human_label_sets_step_verdicts() -> None:
    items = imported(PROCESSBENCH, shape="processbench")
    first_errors = list[int | None]()
    for item in items:
        (annotation,) = item.annotations
        first_errors.append(annotation.first_error)
        verdicts = column(annotation.steps, "verdict")
        assert (annotation.method, annotation.trace_id) == ("human", item.trace.trace_id)
        assert len(verdicts) == len(item.trace.steps)
        assert first_error_of(verdicts) == annotation.first_error
    assert first_errors == [-1, 2, 0, 0]
    # Correct before the first error, incorrect at it, unknown after it.
    verdicts = column(items[1].annotations[0].steps, "verdict")
    assert verdicts == ["correct", "correct", "incorrect", "unknown", "unknown"]


def test_gsm8k_rows_have_several_models() -> None:
    items = imported(SAMPLES / "gsm8k_solutions.jsonl", shape="gsm8k_solutions")
    assert len(items) == 12
    assert len(set(column(items, "problem.problem_id"))) == 3
    assert column(items[:4], "trace.model") == [
        "6b_finetuning",
        "6b_verification",
        "175b_finetuning",
        "175b_verification",
    ]
    wrong, right = column(items[2:4], "trace")
    assert (wrong.final_answer, wrong.outcome) == ("4", Verdict.INCORRECT)
    assert (right.final_answer, right.outcome) == ("18", Verdict.CORRECT)
    assert right.steps[0].endswith("duck eggs are used\n")
    assert right.outcome_reason == "as given: 175b_verification.is_correct = true"


def test_missing_outcome_is_not_graded(tmp_path: Path) -> None:
    item = import_row(tmp_path, ROW)
    assert item.trace.steps == ("1 + 1 = 3.\n", "The answer is 3.")
    assert (item.trace.outcome, item.trace.outcome_reason, item.trace.final_answer) == (
        Verdict.UNKNOWN,
        NOT_GRADED,
        "3",
    )
    assert (item.annotations, item.trace.model) == ((), "unknown")


def test_fields_map_columns(tmp_path: Path) -> None:
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
    item = import_row(
        tmp_path, row, fields=fields, split="sentence", labels_by="annotator_a", labels_from=0
    )
    assert item.trace.steps == ("It is 2. ", "Done.")
    assert (item.trace.outcome, item.trace.model, item.trace.final_answer) == (
        Verdict.CORRECT,
        "gpt-x",
        "2",
    )
    assert item.trace.metadata == {"number": "7"}
    [annotation] = item.annotations
    assert (annotation.method, annotation.first_error) == ("annotator_a", 1)


def test_star_matches_model_names(tmp_path: Path) -> None:
    row = {
        "question": "a",
        "gpt-3.5": {"steps": ["x", "y"]},
        "other": {"steps": ["z"]},
        "empty": {"steps": None},
        "note": "n",
    }
    path = write_json_lines(tmp_path / "x.jsonl", row)
    assert column(imported(path, fields={"steps": "*.steps"}), "trace.model") == [
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
def test_listed_steps_get_separators(
    tmp_path: Path, listed: list[str], steps: tuple[str, ...]
) -> None:
    assert import_row(tmp_path, {"question": "a", "steps": listed}).trace.steps == steps


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        ({"question": None}, "question", "missing"),
        ({"solution": None}, "solution", "missing"),
        ({"solution": 3}, "solution", "a int, not text"),
        ({"solution": ["a"]}, "solution", "a list, not text; --map steps=solution reads lists"),
        ({"solution": "a\ud800"}, "solution", "not UTF-8"),
        ({"steps": []}, "steps", "an empty list"),
        ({"steps": "a"}, "steps", "a text, not a list; --map solution=steps reads texts"),
        ({"steps": 3}, "steps", "a int, not a list"),
        ({"steps": ["a", ""]}, "steps.1", "empty"),
        ({"steps": ["a", None]}, "steps.1", "missing"),
        ({"steps": ["a" * 600_000] * 2}, "steps", "longer than 1,000,000 characters"),
        ({"label": 2}, "label", "2, but the 2 steps are 0 to 1, and -1 is no error"),
        ({"label": -2}, "label", "-2, but"),
        ({"label": 0.5}, "label", "not the number of a step"),
        ({"label": True}, "label", "a bool, not text"),
        ({"label": "first"}, "label", "not the number of a step"),
        ({"label": float("inf")}, "label", "inf, not a number"),
        ({"steps": ["a", "b"], "step_labels": [True]}, "step_labels", "1 labels for 2 steps"),
        ({"correct": "maybe"}, "correct", "neither true nor false"),
        ({"correct": []}, "correct", "neither true nor false"),
    ],
)
def test_unusable_solution_is_rejected(
    tmp_path: Path, changed: dict[str, Any], field: str, reason: str
) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", {**ROW, **changed}, ROW)
    bad, good = import_traces([path], labels_from=0)
    assert isinstance(bad, Rejected)
    assert (bad.file, bad.row, bad.field) == (path, 1, field)
    assert bad.reason.startswith(reason)
    assert isinstance(good, Imported)


def test_bad_solution_affects_no_other(tmp_path: Path) -> None:
    row = {"question": "a", "m1": {"solution": ""}, "m2": {"solution": "x", "is_correct": 0}}
    bad, good = import_traces(
        [write_json_lines(tmp_path / "x.jsonl", row)],
        fields={"solution": "*.solution", "correct": "*.is_correct"},
    )
    assert isinstance(bad, Rejected)
    assert bad.field == "m1.solution"
    assert isinstance(good, Imported)
    assert good.trace.outcome is Verdict.INCORRECT


def test_row_without_solution_is_rejected(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "x.jsonl", {"question": "a"}, {"question": "b", "m": {"solution": "x"}}
    )
    bad, _ = import_traces([path], shape="gsm8k_solutions")
    assert bad == Rejected(file=path, row=1, field="*.solution", reason="no solution in this row")


def test_repeated_trace_is_rejected(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", ROW, ROW, {**ROW, "model": "b"})
    first, repeated, other_model = import_traces([path, write_json_lines(tmp_path / "y.jsonl")])
    assert isinstance(first, Imported)
    assert isinstance(other_model, Imported)
    assert repeated == Rejected(
        file=path,
        row=2,
        field="solution",
        reason=f"the same trace as an earlier one ({first.trace.trace_id})",
    )


def labelled(label: object, steps: int, question: str, **columns: object) -> dict[str, object]:
    """Return a row with a label."""
    texts = [f"step {index} of {question}" for index in range(steps)]
    return {"question": question, "steps": texts, "label": label, **columns}


@pytest.mark.parametrize(
    ("labels", "first_errors"),
    [
        # (label, number of steps); 0 cannot be counted from 1, and 3 of three steps cannot from 0.
        ([(0, 3), (2, 3), (-1, 2)], [0, 2, -1]),
        ([(1, 3), (3, 3), (-1, 2)], [0, 2, -1]),
        ([(1, 1)], [0]),
        ([(2, 2), (1, 4), (None, 3)], [1, 0, None]),
        ([("2.0", 2), (1.0, 4)], [1, 0]),
        ([(-1, 2), (-1, 4)], [-1, -1]),
        ([(0, 1), (5, 3)], [0, None]),
    ],
)
def test_base_of_labels_is_found(
    tmp_path: Path, labels: list[tuple[object, int]], first_errors: list[int | None]
) -> None:
    rows = [labelled(label, steps, str(n)) for n, (label, steps) in enumerate(labels)]
    found = list[int | None]()
    for item in import_traces([write_json_lines(tmp_path / "x.jsonl", *rows)]):
        if isinstance(item, Imported) and item.annotations:
            found.append(item.annotations[0].first_error)
        else:
            found.append(None)
    assert found == first_errors


@pytest.mark.parametrize(
    "labels",
    [
        # All fit both; some fit only 0 and others only 1; one fits neither.
        [(1, 2)],
        [(1, 3), (2, 3), (-1, 3)],
        [(0, 3), (3, 3), (-1, 2)],
        [(3, 3), (5, 3)],
        [(1, 3), (9, 3)],
    ],
)
def test_ambiguous_base_is_refused(tmp_path: Path, labels: list[tuple[int, int]]) -> None:
    rows = [labelled(label, steps, str(n)) for n, (label, steps) in enumerate(labels)]
    path = write_json_lines(tmp_path / "x.jsonl", *rows)
    with pytest.raises(InputError, match="add --labels-from 0 or --labels-from 1") as caught:
        import_traces([path])
    assert "\n" not in str(caught.value)
    for base in (0, 1):
        for (label, steps), item in zip(
            labels, import_traces([path], labels_from=base), strict=True
        ):
            if label != -1 and not base <= label < base + steps:
                assert isinstance(item, Rejected)
                assert item.reason.startswith(f"{label}, but the {steps} steps are {base} to")
            else:
                assert isinstance(item, Imported)
                assert item.annotations[0].first_error == (-1 if label == -1 else label - base)


def test_zeros_of_right_solutions(tmp_path: Path) -> None:
    rows = [
        labelled(0, 3, "a", correct=True),
        labelled(0, 3, "b", correct=True),
        labelled(1, 3, "c", correct=False),
    ]
    with pytest.raises(InputError, match="2 labels 0 belong to correct solutions"):
        import_traces([write_json_lines(tmp_path / "x.jsonl", *rows)])
    # With -1 for no error, 0 is a step.
    rows.append(labelled(-1, 3, "d", correct=True))
    assert len(imported(write_json_lines(tmp_path / "y.jsonl", *rows))) == 4


def test_step_labels_decide_the_base(tmp_path: Path) -> None:
    rows = [
        labelled(2, 3, "a", step_labels=[1, 0, None]),
        labelled(1, 3, "b", step_labels=[0, 1, 1]),
    ]
    first_errors = [
        item.annotations[0].first_error
        for item in imported(write_json_lines(tmp_path / "x.jsonl", *rows))
    ]
    assert first_errors == [1, 0]


def test_shape_defines_the_base(tmp_path: Path) -> None:
    row = {"problem": "a", "steps": ["x", "y"], "label": 1}
    path = write_json_lines(tmp_path / "x.jsonl", row)
    assert imported(path, shape="processbench")[0].annotations[0].first_error == 1
    (item,) = imported(path, shape="processbench", labels_from=1)
    assert item.annotations[0].first_error == 0
    with pytest.raises(ConfigError, match="leave out --labels-from"):
        import_traces([path], shape="prm800k", labels_from=1)
    with pytest.raises(ConfigError, match="labels are counted from 0 or 1"):
        import_traces([path], shape="processbench", labels_from=2)


@pytest.mark.parametrize(
    "columns",
    [
        {"label": None},
        {"label": float("nan")},
        {"label": ""},
        {"label": "None"},
        {"label": "NaN"},
        {"label": "N/A"},
        {"step_labels": None},
        {"step_labels": float("nan")},
        {"step_labels": [None, None]},
        {"step_labels": [None, float("nan")], "label": None},
        {"correct": float("nan")},
    ],
)
def test_null_labels_are_no_labels(tmp_path: Path, columns: dict[str, object]) -> None:
    item = import_row(tmp_path, {**ROW, **columns})
    assert item.annotations == ()
    assert item.trace.outcome_reason == NOT_GRADED


def test_null_step_labels_are_unknown(tmp_path: Path) -> None:
    item = import_row(tmp_path, {**ROW, "step_labels": [1, float("nan")]})
    assert column(item.annotations[0].steps, "verdict") == ["correct", "unknown"]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ({"label": 0}, {"label": 1}, "the first error by human is step 1 here, step 0 there"),
        ({"label": 0}, {"label": -1}, "the first error by human is none here, step 0 there"),
        (
            {"step_labels": [1, 1]},
            {"step_labels": [1, 0]},
            "the first error by human is step 1 here, none there",
        ),
        (
            {"step_labels": [1, None]},
            {"step_labels": [1, 1]},
            "the first error by human is none here, undecided there",
        ),
        ({"label": None}, {"label": 1}, "human has labelled only this row"),
        ({"correct": True}, {"correct": False}, "the answer is incorrect here, correct there"),
        ({"label": 0}, {"label": 0}, ""),
        ({"label": 0}, {"label": None}, ""),
        ({"correct": True}, {}, ""),
    ],
)
def test_labels_of_repeated_trace_differ(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], difference: str
) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", ROW | first, ROW | second)
    kept, repeated = import_traces([path], labels_from=0)
    assert isinstance(kept, Imported)
    assert isinstance(repeated, Rejected)
    if difference:
        assert repeated.reason.startswith(f"{OTHER_LABELS} in row 1 of {path}, whose labels are")
        assert difference in repeated.reason
    else:
        assert repeated.reason.startswith("the same trace as an earlier one")


def test_equal_prmbench_processes_are_reported(tmp_path: Path) -> None:
    lines = (SAMPLES / "prmbench.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row["modified_question"] = row["original_question"]
    row["modified_process"] = row["original_process"]
    original, modified = import_traces(
        [write_json_lines(tmp_path / "x.jsonl", row)], shape="prmbench"
    )
    assert isinstance(original, Imported)
    assert isinstance(modified, Rejected)
    assert modified.reason.startswith(OTHER_LABELS)


def test_labels_refer_to_plain_steps(tmp_path: Path) -> None:
    text = "We add 1 + 2 +\n3 = 6.\nSo 7."
    labelled_item = import_row(tmp_path, {**ROW, "solution": text, "label": 2}, labels_from=0)
    assert len(labelled_item.trace.steps) == 3
    item = import_row(tmp_path, {**ROW, "solution": text})
    assert item.trace.steps == ("We add 1 + 2 +\n3 = 6.\n", "So 7.")
    assert item.trace.trace_id == labelled_item.trace.trace_id
    (joined,) = import_row(tmp_path, {**ROW, "solution": text}, min_step_chars=10).trace.steps
    assert joined == text


def test_thinking_and_response_are_apart(tmp_path: Path) -> None:
    text = "<think>\nOne.\n\nTwo.\n</think>\n\nThe answer is 2."
    item = import_row(tmp_path, {**ROW, "solution": text}, split="think")
    assert item.trace.steps == ("<think>\nOne.\n\n", "Two.\n</think>\n\n", "The answer is 2.")
    assert item.trace.metadata == {"response_from": "2"}


def test_ids_depend_on_content(tmp_path: Path) -> None:
    first = import_row(tmp_path, ROW).trace
    assert (
        import_row(tmp_path, {**ROW, "correct": True, "label": 0}, labels_from=0).trace.trace_id
        == first.trace_id
    )
    # Another split of the same text is the same trace.
    assert import_row(tmp_path, ROW, split="blank_line").trace.trace_id == first.trace_id
    assert import_row(tmp_path, {**ROW, "answer": "3"}).trace.trace_id != first.trace_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"shape": "math"},
            "no shape with solutions is called 'math'; "
            "there are: gsm8k_solutions, processbench, math_aps",
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
            "fields: 'outcome' is no field of Stepmark; there are: question, answer, "
            "reference_solution",
        ),
    ],
)
def test_invalid_argument_is_rejected_early(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        import_traces([write_json_lines(tmp_path / "x.jsonl", ROW)], **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no field 'solution' or 'steps'; it has: question, response"),
        ({"solution": "answer"}, "has no field 'answer'; it has: question, response"),
        ({"solution": "*.text"}, r"has no field '\*\.text'; it has: question, response"),
    ],
)
def test_missing_field_is_named(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", {"question": "a", "response": "b"})
    with pytest.raises(InputError, match=message):
        list(import_traces([path], fields=fields))


@pytest.mark.parametrize("name", plugins.available("problems.shapes"))
def test_bad_row_affects_no_other(tmp_path: Path, name: str) -> None:
    sample = SAMPLES / f"{name}.jsonl"
    lines = sample.read_text(encoding="utf-8").splitlines()
    bad = ["[]", "{}", "nonsense", '{"question": 1, "input": [], "original_process": {}}'] * 2
    mixed = list[str]()
    for line, bad_line in zip(lines, bad, strict=False):
        mixed += [line, bad_line]
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(mixed), encoding="utf-8")
    items = list(import_traces([str(path)], shape=name))
    expected = imported_only(import_traces([str(sample)], shape=name))
    assert imported_only(items) == expected
    even_rows = set(range(2, 2 * len(lines), 2))
    assert even_rows <= set(column(rejected_only(items), "row"))


@pytest.mark.parametrize("name", ["prm800k", "prmbench", "math_shepherd"])
def test_parquet_equals_json_lines(tmp_path: Path, name: str) -> None:
    source = SAMPLES / f"{name}.jsonl"
    copy = tmp_path / f"{name}.parquet"
    rows = read_json_lines(source)
    columns = dict[str, None]()
    for row in rows:
        columns.update(dict.fromkeys(row))
    pq.write_table(pa.Table.from_pylist([columns | row for row in rows]), copy)
    from_json = imported_only(import_traces([str(source)], shape=name))
    from_parquet = imported_only(import_traces([str(copy)], shape=name))
    # Problems differ, because their source is the name of the file.
    assert column(from_json, "trace") == column(from_parquet, "trace")
    assert column(from_json, "annotations") == column(from_parquet, "annotations")


@pytest.mark.parametrize("name", plugins.available("problems.shapes"))
def test_wrong_shape_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="has no field"):
        list(import_traces([write_json_lines(tmp_path / "x.jsonl", {"a": 1})], shape=name))


def test_shared_trace_is_imported_once() -> None:
    """Several rows of PRMBench contain the same original solution, which is not an error."""
    items = list(
        import_traces(
            [str(SAMPLES / "prmbench.jsonl")],
            shape="prmbench",
            domain="maths",
            license="Apache-2.0",
        )
    )
    assert column(rejected_only(items), "row") == [5]
    originals = list[Imported]()
    for item in imported_only(items):
        if item.trace.metadata["process"] == "original":
            originals.append(item)
    # There are two, because the row with a ground truth has another problem.
    assert len(originals) == 2
    for item in originals:
        assert item.problem.domain == "maths"
        assert item.problem.license == "Apache-2.0"
        assert item.problem.source == "prmbench.jsonl"
