"""Steps: lossless splitting, the positions of cuts, and bounded time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark import steps
from stepmark.errors import ConfigError
from stepmark.steps import split, validate

METHODS = (
    "line",
    "blank_line",
    "numbered",
    "sentence",
    r"regex:\n+",
    "regex:[;,]",
    "regex:(?=b)",
    "regex:x*",
)
# The characters that split methods examine, in combinations.
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


@pytest.mark.parametrize("how", METHODS)
@given(text=SOLUTIONS)
def test_split_preserves_the_text(how: str, text: str) -> None:
    pieces = split(text, how)
    assert "".join(pieces) == text
    assert all(pieces)
    assert text.isspace() or not any(piece.isspace() for piece in pieces)


@pytest.mark.parametrize("how", CASES)
def test_split_cases(how: str) -> None:
    for text, expected in CASES[how]:
        assert split(text, how) == expected, text


@pytest.mark.parametrize("how", METHODS)
def test_split_of_blank_text(how: str) -> None:
    assert split("", how) == ()
    assert split(" \n\n ", how) == (" \n\n ",)


@pytest.mark.parametrize("how", ["line", "blank_line", "numbered", "sentence", r"regex:\s+"])
def test_split_takes_linear_time(how: str) -> None:
    for worst in ("\n ", "1. ", "$a ", "\\(", ". ", ".", "$a\n", "  *"):
        started = time.process_time()
        split(worst * (1_000_000 // len(worst)), how)
        assert time.process_time() - started < 10, worst


def test_backtracking_pattern_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
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
            "no way of splitting called 'lines';"
            " there are: line, blank_line, numbered, sentence, regex:PATTERN",
        ),
        ("regex:", "needs a pattern after the colon"),
        ("regex:(", r"regex:\( is not a valid pattern: missing \)"),
        ("regex:" + "(" * 400 + ")" * 90, "is not a valid pattern"),
        ("regex:" + "a" * 501, "may have 500 characters"),
        ("regex:((a{99}){99}){99}", "1000 counted repeats"),
    ],
)
def test_invalid_split_method_is_rejected(how: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(how)


@pytest.mark.parametrize("how", METHODS)
def test_valid_split_methods_are_accepted(how: str) -> None:
    validate(how)
