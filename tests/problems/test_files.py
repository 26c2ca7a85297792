"""Test that published rows become problems, and that bad rows are rejected alone."""

from pathlib import Path
from typing import Any

import pytest

from problems.sources.files import Files
from problems.tabular.problem_formats import PROBLEM_FORMATS
from stepmark.errors import ConfigError, InputError
from stepmark.plugins import build
from stepmark.records import Problem, Rejected
from tests.json_lines import write_json_lines
from tests.problems.helpers import answers_of, problems_of, values_of

SAMPLES = Path(__file__).parent / "samples"


def second_item(tmp_path: Path, row: object, **fields: Any) -> Problem | Rejected:
    """Return the item of a row that follows a good row."""
    path = write_json_lines(
        tmp_path / "x.jsonl", {"question": "1 + 1?", "answer": "2", "meta": {"level": 3}}, row
    )
    _, item = Files(paths=(path,), **fields).problems()
    return item


def test_gsm8k_answer_follows_hashes() -> None:
    items = problems_of(Files(paths=(str(SAMPLES / "gsm8k.jsonl"),), shape="gsm8k", license="MIT"))
    assert answers_of(items) == ["18", "3", "70000", "2,125"]
    assert items[0].question.startswith("Janet’s ducks lay 16 eggs per day.")
    assert values_of(items, "domain") == {"math"}
    assert values_of(items, "source") == {"gsm8k.jsonl"}
    assert values_of(items, "license") == {"MIT"}


def test_same_problem_has_same_id() -> None:
    (gsm8k,) = Files(paths=(str(SAMPLES / "gsm8k.jsonl"),), shape="gsm8k", limit=1).problems()
    (solved,) = Files(
        paths=(str(SAMPLES / "gsm8k_solutions.jsonl"),), shape="gsm8k_solutions", limit=1
    ).problems()
    assert isinstance(gsm8k, Problem)
    assert isinstance(solved, Problem)
    assert gsm8k.problem_id == solved.problem_id


def test_processbench_has_no_reference_answers() -> None:
    items = problems_of(Files(paths=(str(SAMPLES / "processbench.jsonl"),), shape="processbench"))
    assert answers_of(items) == [None] * 4


def test_math_reads_answer_or_last_box(tmp_path: Path) -> None:
    solution = r"First $\boxed{1}$, rather $\boxed{\frac{1}{2}}$."
    rows = [
        {"problem": "a", "solution": solution},
        {"problem": "b", "solution": solution, "answer": "7"},
        {"problem": "c"},
    ]
    items = problems_of(Files(paths=(write_json_lines(tmp_path / "x.jsonl", *rows),), shape="math"))
    assert answers_of(items) == [r"\frac{1}{2}", "7", None]


def test_dotted_columns_map_to_fields(tmp_path: Path) -> None:
    row = {"text": {"q": "2 + 2?"}, "gold": 4, "set": "A", "of": "me", "level": 5, "by": "CC0"}
    fields = {
        "question": "text.q",
        "answer": "gold",
        "domain": "set",
        "source": "of",
        "license": "by",
        "metadata.level": "level",
    }
    (problem,) = problems_of(
        Files(paths=(write_json_lines(tmp_path / "x.jsonl", row),), fields=fields, domain="B")
    )
    assert (problem.question, problem.answer, problem.domain, problem.source, problem.license) == (
        "2 + 2?",
        "4",
        "A",
        "me",
        "CC0",
    )
    assert problem.metadata == {"level": "5"}


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"answer": "2"}, "question", "missing"),
        ({"question": " ", "answer": "2"}, "question", "empty"),
        ({"question": 5, "answer": "2"}, "question", "a int, not text"),
        ({"question": "a\ud800"}, "question", "not UTF-8: a lone surrogate at character 2"),
        ({"question": "a" * 1_000_001}, "question", "longer than 1,000,000 characters"),
        ({"question": "b", "answer": ["2", "3"]}, "answer", "a list of 2 answers: map answer="),
        ({"question": "b", "answer": [["2"]]}, "answer", "a list, not text"),
        ({"question": "b", "answer": {"value": 2}}, "answer", "an object with the keys value: map"),
        ({"question": "b", "answer": float("inf")}, "answer", "inf, not a number"),
        ({"question": "b", "answer": 10**400}, "answer", "a number of too many digits"),
        ({"question": "1 + 1?", "answer": "2"}, "question", "the same problem as an earlier row"),
        (["question"], "", "a JSON list, not an object"),
    ],
)
def test_bad_row_is_rejected(tmp_path: Path, row: object, field: str, reason: str) -> None:
    item = second_item(tmp_path, row)
    assert isinstance(item, Rejected)
    assert (item.file, item.row, item.field) == (str(tmp_path / "x.jsonl"), 2, field)
    assert item.reason.startswith(reason)


def test_gsm8k_without_hashes_is_rejected(tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", {"question": "1 + 1?", "answer": "2"})
    (item,) = Files(paths=(path,), shape="gsm8k").problems()
    assert item == Rejected(
        file=path, row=1, field="answer", reason="does not state a final answer as this shape does"
    )


@pytest.mark.parametrize(
    "row",
    [
        {"question": "b"},
        {"question": "b", "answer": None},
        {"question": "b", "answer": " "},
        {"question": "b", "answer": float("nan")},
        {"question": "b", "answer": []},
        {"question": "b", "answer": [None]},
    ],
)
def test_answer_may_be_absent(tmp_path: Path, row: object) -> None:
    item = second_item(tmp_path, row)
    assert isinstance(item, Problem)
    assert item.answer is None


def test_limit_counts_problems_of_all_files(tmp_path: Path) -> None:
    paths = tuple(
        write_json_lines(tmp_path / f"{name}.jsonl", {"question": name}, {}, {"question": name * 2})
        for name in "ab"
    )
    kinds = [type(item).__name__ for item in Files(paths=paths, limit=3).problems()]
    assert kinds == ["Problem", "Rejected", "Problem", "Problem"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"shape": "gsm9k"},
            f"no shape is called 'gsm9k'; there are: {', '.join(PROBLEM_FORMATS)};"
            " or map your own columns with fields",
        ),
        (
            {"fields": {"prompt": "q"}},
            "fields: 'prompt' is no field of Stepmark;"
            " there are: question, answer, reference_solution, domain",
        ),
        ({"fields": {"steps": "q"}}, "fields: 'steps' is no field of Stepmark"),
        ({"fields": {"metadata.": "q"}}, "fields: 'metadata.' is no field of Stepmark"),
        ({"limit": 0}, "limit = 0: it must be 1 or more"),
    ],
)
def test_run_file_errors_are_explained(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("problems", {"use": "files", "paths": ["x.jsonl"], **fields})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"question": "promt"},
        {"question": "prompt", "answer": "gold"},
        {"question": "prompt", "domain": "a.b"},
    ],
)
def test_unknown_column_is_an_input_error(tmp_path: Path, fields: dict[str, str]) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", {"prompt": "a", "answer": "b"})
    with pytest.raises(InputError) as caught:
        list(Files(paths=(path,), fields=fields).problems())
    assert (
        str(caught.value)
        == f"{path} has no field {list(fields.values())[-1]!r}; it has: prompt, answer"
    )


def test_missing_file_is_reported_early() -> None:
    with pytest.raises(InputError, match=r"no_such_file\.jsonl does not exist"):
        Files(paths=("no_such_file.jsonl",)).problems()
