"""Duplicates: exact duplicates, near duplicates and texts that only look similar."""

from collections.abc import Mapping

import pytest

from filters.base import Candidate
from filters.duplicates import Duplicates
from stepmark.records import NO_ERROR
from tests.filters.samples import I, candidate, drops

QUESTION = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning"
    " and sells the remainder for $2 per egg. How much does she make?"
)
SOLUTION = (
    "She eats 3 eggs for breakfast, so she has 16 - 3 = 13 eggs left.\n",
    "She sells them for $2 each: 13 * 2 = 26.\n",
    "The answer is 26.",
)


def problems(*questions: str) -> list[Candidate]:
    return [
        candidate(f"t{index}", f"{index}", problem=f"p{index}", question=question)
        for index, question in enumerate(questions)
    ]


def traces(*texts: str) -> list[Candidate]:
    return [candidate(f"t{index}", text) for index, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("other", "similarity"),
    [
        (QUESTION, "the same as"),
        (QUESTION.upper(), "the same as"),
        # White space does not count.
        (QUESTION.replace(". ", ".\n\n "), "the same as"),
        # Wide digits are the same after normalization.
        (QUESTION.replace("16", "１６"), "the same as"),
        (QUESTION.replace("every morning", "each morning"), "nearly the same as"),
        (QUESTION.replace("Janet's", "Janet’s"), "nearly the same as"),
        # Another number makes another problem, however similar the texts are.
        (QUESTION.replace("16", "17"), None),
        (QUESTION.replace("lay 16 eggs per day", "lay eggs"), None),
        ("How many eggs do the ducks of Janet lay when 16 of them are sold for $2?", None),
    ],
)
def test_repeated_question_drops_its_traces(other: str, similarity: str | None) -> None:
    candidates = [
        *problems(QUESTION, other),
        candidate("t2", "two", problem="p1", question=other),
        candidate("t3", "three", question="Another?"),
    ]
    expected = {}
    if similarity:
        reason = f"its question is {similarity} that of problem p0"
        expected = {"t1": reason, "t2": reason}
    assert drops(Duplicates(), candidates) == expected


@pytest.mark.parametrize(
    ("other", "similarity"),
    [
        ("".join(SOLUTION), "the same as"),
        ("\n".join(SOLUTION) + "\n", "the same as"),
        ("".join(SOLUTION).replace("left", "over"), "nearly the same as"),
        # Another number, so another solution.
        ("".join(SOLUTION).replace("13 * 2 = 26", "13 * 2 = 27"), None),
        # A changed sign is only a small change of the text.
        ("".join(SOLUTION).replace("16 - 3", "16 + 3"), "nearly the same as"),
        ("16 - 3 = 13 and 13 * 2 = 26, so 26 it is.", None),
    ],
)
def test_repeated_solution_is_dropped(other: str, similarity: str | None) -> None:
    dropped = drops(Duplicates(), traces("".join(SOLUTION), other))
    assert dropped == ({"t1": f"{similarity} trace t0"} if similarity else {})


def test_first_error_separates_near_duplicates() -> None:
    """Check that labels with different first errors separate a near pair.

    They do not separate an exact pair, whose labels contradict each other.
    """
    right = "".join(SOLUTION)
    # The text with the other sign is nearly the same, as above.
    wrong = right.replace("16 - 3", "16 + 3")
    near = [
        candidate("t0", right, first_error=NO_ERROR),
        candidate("t1", wrong, first_error=0, outcome=I),
    ]
    assert drops(Duplicates(), near) == {}
    exact = [
        candidate("t0", right, first_error=NO_ERROR),
        candidate("t1", right, first_error=0, outcome=I),
    ]
    assert drops(Duplicates(), exact) == {"t1": "the same as trace t0"}


def test_problems_are_compared_separately() -> None:
    candidates = [
        candidate("t0", *SOLUTION, problem="p0", question="How much?"),
        candidate("t1", *SOLUTION, problem="p1", question="Why?"),
    ]
    assert drops(Duplicates(), candidates) == {}


def test_first_id_is_kept() -> None:
    # Not in the order of their ids.
    candidates = [candidate(name, *SOLUTION) for name in ("t3", "t1", "t2")]
    assert drops(Duplicates(), candidates) == dict.fromkeys(("t2", "t3"), "the same as trace t1")


def test_short_symbol_texts_are_distinguished() -> None:
    assert drops(Duplicates(), traces("+", "-", "+ -", "+")) == {"t3": "the same as trace t0"}


@pytest.mark.parametrize(
    ("parameters", "dropped"),
    [
        ({"of": ("questions",)}, {"b": "its question is the same as that of problem p0"}),
        ({"of": ("traces",)}, {"a": "nearly the same as trace A"}),
        ({"threshold": 0.95}, {"b": "its question is the same as that of problem p0"}),
        (
            {},
            {
                "a": "nearly the same as trace A",
                "b": "its question is the same as that of problem p0",
            },
        ),
    ],
)
def test_parameters_select_the_comparison(
    parameters: Mapping[str, object], dropped: Mapping[str, str]
) -> None:
    candidates = [
        candidate("A", *SOLUTION, problem="p0", question=QUESTION),
        candidate("a", "".join(SOLUTION).replace("left", "over"), problem="p0", question=QUESTION),
        candidate("b", "Something else.", problem="p1", question=QUESTION),
    ]
    assert drops(Duplicates(**parameters), candidates) == dropped  # type: ignore[arg-type]
