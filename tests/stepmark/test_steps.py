"""Steps: lossless splitting, the positions of cuts, and bounded time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark import steps
from stepmark.errors import ConfigError
from stepmark.steps import Splitter, response_start, split, validate

METHODS = (
    "line",
    "blank_line",
    "numbered",
    "sentence",
    "think",
    r"regex:\n+",
    "regex:[;,]",
    "regex:(?=b)",
    "regex:x*",
)
# The characters that split methods examine, in combinations.
SPACES = ("\n", " ", "\t", "\r\n", "\u2028")
MATHEMATICS = ("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\")
OPERATORS = ("+", " + ", "=", "...", "\u2026", "\\cdots", "5!")
MARKERS = ("(1) ", "[Step 1]", "- ", "步骤 1", "<think>", "</think>")
FRAGMENTS = (
    *(*SPACES, *MATHEMATICS, *OPERATORS, *MARKERS),
    *(".", "!", "1.", "Step 2", "e.g.", "3.5", "A b", "x", ";", "。"),
)
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


# A sum that a line break cuts goes on in the next step, in every method but the user's pattern.
ONE_STEP: dict[str, list[str]] = {
    "line": [
        "It is 1 + 2 + 3 + \\cdots +\n20 + 21 = 231 in all.",
        "The total is 12 ×\n3 = 36.",
        "We get 5+\n6 = 11.",
        "So x =\n  7.",
        "The product is 2 \\cdot\n 3 \\cdot 5 = 30.",
        "We have 3\n× 4 = 12.",
        "a &= 3 + 4 \\\\\n&+ 7",
        "In all 1 + 2 + 3\n+ 4 + 5 = 15.",
        "The sum is 1 + 2 + ...\n+ 9 = 45.",
        "Then n \\le\n 5.",
        "3 * 4 *\r\n5 = 60",
    ],
    "blank_line": ["The sum 2 + 3 +\n\n4 is 9.", "So 2 + 3\n\n+ 5 = 10."],
    "numbered": ["1. We add 2 +\n3. So it is 5.", "The lines are 2 +\n(3) + 1 = 6"],
    "sentence": [
        "We add 1 + 2 + ... + 9 = 45.",
        "The terms 1, 2, ... , 10 are ten.",
        "We add 1 + 2 + . . . + 9 = 45.",
        "The list is a, b, … and z.",
        "There are 5! = 120 orders.",
        "So n! ways and (n + 1)! others.",
        "The value is 3 +\n\n4.",
        "Let S = 1 + 3 + 5 + .... + 99 be the sum.",
    ],
}
# The number of steps of the other texts.
COUNTS: dict[str, list[tuple[str, int]]] = {
    "line": [
        ("We list:\n- 5 apples\n- 3 pears", 3),
        ("We list\n+ 5 apples\n+ 3 pears", 3),
        ("Use C++\nThen compile.", 2),
        ("Title\n-----\nText", 3),
        ("**Bold line**\nNext", 2),
        ("See <b>this</b>\nNext", 2),
        ("12\n- 5 + 3 = 10", 2),
        ("So 3 + 4 = 7.\n4 + 5 = 9.", 2),
        ("Grade: A-\nNext", 2),
        ("We have 3 + 4\n= 7.", 2),
        ("a &= 3 + 4 \\\\\n&= 7", 2),
        ("It is 5.\n- OR -\nIt is 6.", 3),
        ("Is 3 > 2?\n> a quotation", 2),
    ],
    "numbered": [
        ("- Step 1: 3 + 4 = 7\n- Step 2: 7 × 2 = 14", 2),
        ("* Step 1. a\n* Step 2. b", 2),
        ("[Step 1] 3 + 4 = 7\n[Step 2] 7 × 2 = 14", 2),
        ("<Step 1> a\n<Step 2> b", 2),
        ("(Step 1) a\n(Step 2) b", 2),
        ("(1) 3 + 4 = 7\n(2) 7 × 2 = 14", 2),
        ("(1) Add.\n(2) Divide.\n(3) Stop.", 3),
        ("步骤 1：3 + 4 = 7\n步骤 2：7 × 2 = 14", 2),
        ("步骤一：a\n步骤二：b", 2),
        ("第一步：a\n第二步：b", 2),
        ("第1步：a\n第2步：b", 2),
        ("Schritt 1: a\nSchritt 2: b", 2),
        ("Étape 1 : a\nÉtape 2 : b", 2),
        ("Paso 1: a\nPaso 2: b", 2),
        ("Шаг 1: a\nШаг 2: b", 2),
        ("ステップ1：a\nステップ2：b", 2),
        ("단계 1: a\n단계 2: b", 2),
        ("Step1: a\nStep2: b", 2),
        ("STEP #1: a\nSTEP #2: b", 2),
        ("Step One: a\nStep Two: b", 2),
        ("> 1. a\n> 2. b", 2),
        ("１．a\n２．b", 2),
        ("1、a\n2、b", 2),
        ("① a\n② b", 2),
        ("\\textbf{Step 1:} a\n\\textbf{Step 2:} b", 2),
        ("1: Add.\n2: Divide.", 2),
        ("[1] Add.\n[2] Divide.", 2),
        ("Step (1): Add.\nStep (2): Divide.", 2),
        ("Step I: Add.\nStep II: Divide.", 2),
        ("The ratio is\n2: 3 and so on\n4: 5 too", 1),
        ("At\n10: 30 it ends", 1),
        ("Let us\nstep in here\nstep I took\nstep visibly", 1),
        ("From (1) and\n(2) it follows that x = 3", 1),
        ("We add\n(1) + (2) to get 5x = 10", 1),
        ("The next steps are easy\nsteps 2 and 3 follow", 1),
        ("It costs\n3.50 in all", 1),
        ("In\n(2019) it began", 1),
    ],
    "sentence": [
        ("We add 1 + 2 + ... + 9 = 45. So it is 45.", 2),
        ("Let me think... Then it is 5.", 2),
        ("I wonder … Next it is 5.", 2),
        ("The value is 5! Then we go on.", 2),
        ("There are 5! = 120 orders. So 120.", 2),
        ("The sequence is 2, 4, 6, ... The next is 8.", 2),
        ("我们先加。3 + 4 = 7。答案是 7！", 3),
        ("Wait... what? No.", 2),
    ],
    "think": [
        ("<think>\nOne.\n\nTwo.\n</think>\n\nThe answer is 7.", 3),
        ("<think>One.</think>The answer is 7.", 2),
        ("One.\n\n</think>\n\nThe answer.\n\nIt is 7.", 3),
        ("<think>\n\n</think>\n\nThe answer is 7.", 2),
        ("<think>\nOne.\n\nTwo is cut", 2),
        ("No thinking.\n\nIt is 7.", 2),
        ("<thinking>One.\n\nTwo.</thinking>\nIt is 7.", 3),
        ("<THINK>One.</THINK>It is 7.", 2),
        ("<think>2 +</think>3 = 5", 2),
        ("<think>a</think>\nb\n<think>c</think>\nd", 4),
        ("[THINK]a\n\nb[/THINK]c", 3),
        ("◁think▷a◁/think▷b", 2),
        ("<|channel|>analysis<|message|>a<|channel|>final<|message|>b", 2),
    ],
}


@pytest.mark.parametrize("how", ONE_STEP)
def test_cut_sums_are_one_step(how: str) -> None:
    for text in ONE_STEP[how]:
        assert split(text, how) == (text,)


@pytest.mark.parametrize("how", COUNTS)
def test_number_of_steps(how: str) -> None:
    for text, count in COUNTS[how]:
        steps = split(text, how)
        assert len(steps) == count, (text, steps)
        assert "".join(steps) == text


@pytest.mark.parametrize("how", METHODS)
@given(text=SOLUTIONS)
def test_split_preserves_the_text(how: str, text: str) -> None:
    pieces = split(text, how)
    assert "".join(pieces) == text
    assert all(pieces)
    assert text.isspace() or not any(piece.isspace() for piece in pieces)


WORST = (
    *(
        "\n ",
        "1. ",
        "$a ",
        "\\(",
        ". ",
        ".",
        "$a\n",
        "  *",
        "+\n",
        "\n+",
        " =\n",
        "(1)\n",
        "...",
        "。",
    ),
    *("- ", "[", ">", "\\cdots", "! ", "\n(", "<think>", "</think>", "<", "#", "第", ". . ", "\n&"),
)


@pytest.mark.parametrize("how", CASES)
def test_split_cases(how: str) -> None:
    for text, expected in CASES[how]:
        assert split(text, how) == expected, text


@pytest.mark.parametrize("how", METHODS)
def test_split_of_blank_text(how: str) -> None:
    assert split("", how) == ()
    assert split(" \n\n ", how) == (" \n\n ",)


@pytest.mark.parametrize(
    "how", ["line", "blank_line", "numbered", "sentence", "think", r"regex:\s+"]
)
def test_split_takes_linear_time(how: str) -> None:
    for worst in WORST:
        started = time.process_time()
        split(worst * (100_000 // len(worst)), how)
        assert time.process_time() - started < 3, worst


@pytest.mark.parametrize("how", METHODS)
@given(text=SOLUTIONS, least=st.integers(0, 30))
def test_short_steps_are_joined(how: str, text: str, least: int) -> None:
    pieces = Splitter(how, min_step_chars=least)(text)
    assert "".join(pieces) == text
    if not least:
        assert pieces == split(text, how)
    if how != "think" and len(pieces) > 1:
        assert all(len(piece.strip()) >= least for piece in pieces)


def test_joined_steps_keep_the_response_apart() -> None:
    splitter = Splitter("think", min_step_chars=40)
    # Its cuts changed without those of the other methods.
    assert splitter.version > Splitter("line").version
    text = "<think>\nA.\n\nB.\n</think>\n\nSo it is 7.\n\nDone."
    assert splitter(text) == ("<think>\nA.\n\nB.\n</think>\n\n", "So it is 7.\n\nDone.")
    assert Splitter("line", min_step_chars=8)("Step 1:\n3 + 4 = 7\n\nSo 7.\nIt is 7.\nOK") == (
        "Step 1:\n3 + 4 = 7\n\n",
        "So 7.\nIt is 7.\nOK",
    )


def test_response_start() -> None:
    assert response_start(split("<think>a\n\nb</think>\nc", "think")) == 2
    assert response_start(split("a\n\nb</think>\nc", "think")) == 2
    assert response_start(split("<think>a\n\nb", "think")) is None
    assert response_start(split("a\n\nb", "think")) is None
    assert response_start(split("<think>a</think>", "think")) is None


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
            " there are: line, blank_line, numbered, sentence, think, regex:PATTERN",
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
