"""Test dotted paths and the checks of texts in columns."""

from decimal import Decimal
from typing import Any

import pytest

from problems.tabular.columns import (
    MAX_CHARACTERS,
    ROWS_CHECKED,
    UnusableError,
    number_or_text_at,
    require_columns,
    text_of,
    value_at,
)
from problems.tabular.readers import Row
from stepmark.errors import InputError
from stepmark.records import Rejected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", {"b": [{"c": 1}], "d.e": 2}),
        ("a.b.0.c", 1),
        ("a.d.e", 2),
        ("x.y", 3),
        ("x.y.z", None),
        ("a.b.1.c", None),
        ("a.b.c", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_paths_reach_into_objects_and_lists(path: str, expected: object) -> None:
    assert value_at({"a": {"b": [{"c": 1}], "d.e": 2}, "x.y": 3}, path) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        (3, "a int, not text"),
        (["a"], "a list, not text"),
        ("", "empty"),
        (" \n", "empty"),
        ("a\ud800", "not UTF-8: a lone surrogate at character 2"),
        ("a" * (MAX_CHARACTERS + 1), "longer than 1,000,000 characters"),
    ],
)
def test_unusable_texts_are_rejected(value: object, reason: str) -> None:
    with pytest.raises(UnusableError) as caught:
        text_of(value, "question")
    assert (caught.value.field, caught.value.reason) == ("question", reason)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("18", "18"),
        (" 18\n", "18"),
        (18, "18"),
        (1.5, "1.5"),
        (Decimal("0.10"), "0.10"),
        ("", None),
        (None, None),
        (float("nan"), None),
        (Decimal("NaN"), None),
    ],
)
def test_numbers_become_texts(value: object, expected: str | None) -> None:
    assert number_or_text_at({"answer": value}, "answer") == expected


@pytest.mark.parametrize("value", [True, float("inf"), Decimal("Infinity"), [18], {"value": 18}])
def test_other_types_are_rejected(value: object) -> None:
    with pytest.raises(UnusableError):
        number_or_text_at({"answer": value}, "answer")


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row("x.jsonl", number, value) for number, value in enumerate(values, start=1)]


def test_missing_column_message_lists_existing_columns() -> None:
    with pytest.raises(InputError) as caught:
        require_columns(
            rows({"prompt": "a"}, {"prompt": "b", "gold": 1}), [["question", "problem"]]
        )
    assert str(caught.value) == "x.jsonl has no field 'question' or 'problem'; it has: prompt, gold"


def test_one_row_may_lack_the_column() -> None:
    bad = Rejected(file="x.jsonl", row=2, field="", reason="bad")
    mixed_rows: list[Row | Rejected] = [*rows({"prompt": "a"}), bad, *rows({"question": None})]
    assert list(require_columns(mixed_rows, [["question"]])) == mixed_rows
    assert list(require_columns(mixed_rows[1:2], [["question"]])) == mixed_rows[1:2]


def test_only_first_rows_are_checked() -> None:
    many = rows(*({"a": 1} for _ in range(ROWS_CHECKED)), {"question": "b"})
    with pytest.raises(InputError, match=r"it has: a$"):
        require_columns(many, [["question"]])
