"""Test that reference answers are read in the shapes in which data sets write them."""

import time
from decimal import Decimal

import pytest

from problems.tabular.references import reference_at, stated_reference


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("18", "18"),
        (18, "18"),
        (0.75, "0.75"),
        (7.0, "7.0"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (6.02e23, "602000000000000000000000"),
        (2e-05, "0.00002"),
        (-1.5e-7, "-0.00000015"),
        (1e300, "1e+300"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.10"), "0.10"),
        (["7"], "7"),
        ([7], "7"),
        ((" 7 ",), "7"),
        ([1e16], "10000000000000000"),
        ('["8"]', "8"),
        ('[ "x = 8" ]', "x = 8"),
        (r'["\\frac{1}{2}"]', r"\frac{1}{2}"),
        ("['8']", "8"),
        ("[8]", "[8]"),
        ("[1, 2]", "[1, 2]"),
        ('["8", "9"]', '["8", "9"]'),
        ("(3, 4)", "(3, 4)"),
        (True, "true"),
        ([], None),
        ([""], None),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_references_in_odd_shapes(value: object, expected: str | None) -> None:
    assert reference_at({"answer": value}, "answer") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4 + 5 = 9\n#### 9", "9"),
        ("4 + 5 = 9 #### 9", "9"),
        ("x = 4 + 5\n#### 1,234\n", "1,234"),
        ("So 4 + 5 = 9.\nThe answer is 9.", "9"),
        ("The final answer is: 9", "9"),
        (r"Adding, we get \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("We add.\nAnswer: 9 apples", "9"),
        ("We add.\nA: 9", "9"),
        ("4 + 5 = <<4+5=9>>9\n#### 9", "9"),
        ("4 + 5 = 9.\n\nThe final answer is $\\boxed{9}$. I hope it is correct.", "9"),
        # These are no worked solutions.
        ("9", "9"),
        ("3 or 4", "3 or 4"),
        (r"\boxed{9}", r"\boxed{9}"),
        ("no answer", "no answer"),
        ("first line\nsecond line", "first line\nsecond line"),
        ('{"inputs": ["#### 5"], "outputs": ["2"]}', '{"inputs": ["#### 5"], "outputs": ["2"]}'),
        ("assert answer == 5\n#### 9", "assert answer == 5\n#### 9"),
        ("def test_it():\n    answer = f(2)\n", "def test_it():\n    answer = f(2)\n"),
        ("import math\nanswer = 5", "import math\nanswer = 5"),
    ],
)
def test_worked_references(text: str, expected: str) -> None:
    assert stated_reference(text) == expected


def test_references_take_linear_time() -> None:
    for worst in ("#### ", "answer ", "\n ", "def a", r"\boxed{", '["', "['", "from a", "=\n"):
        text = worst * (200_000 // len(worst))
        started = time.process_time()
        stated_reference(text)
        reference_at({"answer": text}, "answer")
        assert time.process_time() - started < 2, worst
