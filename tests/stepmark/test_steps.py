"""Steps: nothing is lost, cuts fall where they are asked for, and no text and no pattern makes it hang."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark import steps
from stepmark.errors import ConfigError
from stepmark.steps import split, validate

WAYS = (
    "line",
    "blank_line",
    "numbered",
    "sentence",
    r"regex:\n+",
    "regex:[;,]",
    "regex:(?=b)",
    "regex:x*",
)
# What the cutters look at, often enough side by side to meet each other.
SPACES = ("\n", " ", "\t", "\r\n", "\u2028")
MATHEMATICS = ("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\")
FRAGMENTS = (*SPACES, *MATHEMATICS, ".", "!", "1.", "Step 2", "e.g.", "3.5", "A b", "x", ";")
SOLUTIONS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3)).map("".join)

CASES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "line": [
        ("a\nb\n", ("a\n", "b\n")),
        ("\n\na\n \n\nb", ("\n\na\n \n\n", "b")),
        ("a\r\nb", ("a\r\n", "b")),
    ],
    "blank_line": [("a\nb\n\n\nc", ("a\nb\n\n\n", "c")), ("a\n \t\n  b", ("a\n \t\n", "  b"))],
    "numbered": [
        ("Plan:\n1. Add.\n2. Take 3.5.\n", ("Plan:\n", "1. Add.\n", "2. Take 3.5.\n")),
        (
            "Step 1: a\nb\n**Step 2:** c\n### Step 3\nd",
            ("Step 1: a\nb\n", "**Step 2:** c\n", "### Step 3\nd"),
        ),
        ("1) a\n3.5 apples\n2) b", ("1) a\n3.5 apples\n", "2) b")),
        ("no number", ("no number",)),
    ],
    "sentence": [
        ("It is 3.5. Mr. Ha has e.g. two! So?", ("It is 3.5. ", "Mr. Ha has e.g. two! ", "So?")),
        ("He pays $5. She pays $6. Sum: $11.", ("He pays $5. ", "She pays $6. ", "Sum: $11.")),
        (
            "So $a. B$ and \\(c. D\\). Then \\[e. F\\] $$g. H$$.",
            ("So $a. B$ and \\(c. D\\). ", "Then \\[e. F\\] $$g. H$$."),
        ),
        ('Done (yes.) "Ok." Next', ("Done (yes.) ", '"Ok." ', "Next")),
        ("1. First a. \n2. Then b.", ("1. First a. \n", "2. Then b.")),
        (
            "Eggs, milk etc. are food. Milk etc. Then",
            ("Eggs, milk etc. are food. ", "Milk etc. ", "Then"),
        ),
        ("no stop\n\nnext", ("no stop\n\n", "next")),
        ("At 5 p.m. they left... Gone", ("At 5 p.m. they left... ", "Gone")),
    ],
    "regex:;+": [
        ("a;;b", ("a;;", "b")),
        (";a; ;\n b", (";", "a;", " ;", "\n b")),
        (" \n;a;\n", (" \n;", "a;\n")),
    ],
    "regex:(?=b)": [("abab", ("a", "ba", "b"))],
}


@pytest.mark.parametrize("how", WAYS)
@given(text=SOLUTIONS)
def test_nothing_is_lost_and_no_step_is_empty(how: str, text: str) -> None:
    pieces = split(text, how)
    assert "".join(pieces) == text
    assert all(pieces)
    assert text.isspace() or not any(piece.isspace() for piece in pieces)


@pytest.mark.parametrize(
    ("how", "text", "expected"), [(how, *case) for how, cases in CASES.items() for case in cases]
)
def test_cuts_fall_where_they_are_asked_for(how: str, text: str, expected: tuple[str, ...]) -> None:
    assert split(text, how) == expected


@pytest.mark.parametrize("how", WAYS)
def test_nothing_and_nothing_but_whitespace(how: str) -> None:
    assert split("", how) == ()
    assert split(" \n\n ", how) == (" \n\n ",)


@pytest.mark.parametrize("how", ["line", "blank_line", "numbered", "sentence", r"regex:\s+"])
def test_a_megabyte_of_the_worst_takes_linear_time(how: str) -> None:
    for worst in ("\n ", "1. ", "$a ", "\\(", ". ", ".", "$a\n", "  *"):
        started = time.process_time()
        split(worst * (1_000_000 // len(worst)), how)
        assert time.process_time() - started < 10, worst


def test_a_pattern_that_backtracks_is_stopped_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "REGEX_SECONDS", 0.1)
    with pytest.raises(
        ConfigError, match="takes too long on a solution of 41 characters; make it simpler"
    ):
        split("a" * 40 + "c", "regex:(a|a)+$")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "lines",
            "no way of splitting called 'lines'; there are: line, blank_line, numbered, sentence, regex:PATTERN",
        ),
        ("regex:", "needs a pattern after the colon"),
        ("regex:(", r"regex:\( is not a valid pattern: missing \)"),
        ("regex:" + "(" * 400 + ")" * 90, "is not a valid pattern"),
        ("regex:" + "a" * 501, "may have 500 characters"),
        ("regex:((a{99}){99}){99}", "1000 counted repeats"),
    ],
)
def test_a_way_that_cannot_be_used_is_a_config_error(how: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(how)


@pytest.mark.parametrize("how", WAYS)
def test_usable_ways_pass(how: str) -> None:
    validate(how)
