"""Length: both sides of every bound."""

import pytest

from filters.length import Length
from tests.filters.samples import candidate, drops

BOUNDS = Length(min_steps=2, max_steps=3, max_step_characters=20, max_repeated_lines=0.5)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (("a\n", "b\n"), None),
        (("a\n", "b\n", "c"), None),
        (("a\n",), "1 steps, not 2 to 3"),
        (("a\n", "b\n", "c\n", "d"), "4 steps, not 2 to 3"),
        # Twenty characters are the limit.
        (("a\n", "x" * 20), None),
        (("a\n", "x" * 21), "a step of 21 characters, more than 20"),
        # One of two lines repeats another one, which is just the limit.
        (("a\n", "a\n"), None),
        (("a\n", "a\n", "a\n"), "67% of its lines repeat an earlier line"),
        # Lines are counted, not steps, and spaces around them are ignored: 2 of 5 repeat.
        (("a\na\n", " a \nb\n", "c"), None),
        (("a\na\n", " a \na\n", "c"), "60% of its lines repeat an earlier line"),
        # Lines of signs alone, such as the delimiters of formulas, do not count as repeated.
        (("\\[\n1\n\\]\n", "\\[\n2\n\\]\n", "\\[\n3\n\\]\n"), None),
        (("\n", "\n\n"), None),
        (("...\n", "...\n", "..."), None),
    ],
)
def test_traces_outside_bounds_are_dropped(steps: tuple[str, ...], reason: str | None) -> None:
    assert drops(BOUNDS, [candidate("t", *steps)]).get("t") == reason
