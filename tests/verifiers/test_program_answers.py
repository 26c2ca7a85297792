"""Answers as programs print them: what mathematics says of each pair, in both orders."""

from typing import Any

import pytest

from stepmark.records import Verdict
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA
from verifiers.answers import Answers
from verifiers.base import AnswerClaim, ReferenceClaim
from verifiers.program_answers.judging import judge_programs

PAIRS = read_json_lines(DATA / "program_answers.jsonl")
VERDICTS = {
    "equal": ("correct", "unknown"),
    "different": ("incorrect", "unknown"),
    "open": ("unknown",),
}


def _verdict(answer: str, reference: str) -> Verdict:
    return Answers().verify(AnswerClaim(answer=answer, reference=reference)).verdict


def _case_id(case: dict[str, Any]) -> str:
    return f"{case['kind']}: {case['answer'][:40]} | {case['reference'][:40]}"


@pytest.mark.parametrize("case", PAIRS, ids=_case_id)
def test_pair_in_both_orders(case: dict[str, Any]) -> None:
    assert case["verdict"] in VERDICTS[case["truth"]]
    assert _verdict(case["answer"], case["reference"]) == case["verdict"]
    assert _verdict(case["reference"], case["answer"]) == case["verdict"]


@pytest.mark.parametrize("text", ["sum(k^2,k,1,n)", "%e^(%i*t)", "x # 0", "[x = 1, x = 2*a]"])
def test_references_of_programs_are_read(text: str) -> None:
    assert Answers().verify(ReferenceClaim(reference=text)).verdict is Verdict.CORRECT


@pytest.mark.parametrize("text", ["2*", "x**", "f(x)*\\frac12 ?", "2*inf"])
def test_other_references_stay_undecided(text: str) -> None:
    assert Answers().verify(ReferenceClaim(reference=text)).verdict is Verdict.UNKNOWN


# Each took more than a minute: roots of very different sizes, and many pairs of large items.
@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("x^24 + x^23*12345678901234567890 = 3", "x^24 + x^23*12345678901234567891 = 3"),
        (
            "{" + ", ".join(f"(x+y+z+{number})^30" for number in range(12)) + "}",
            "{" + ", ".join(f"(x+y+z+{number})^30 + 1" for number in range(12)) + "}",
        ),
    ],
    ids=["roots", "items"],
)
def test_long_comparisons_are_undecided(answer: str, reference: str) -> None:
    assert judge_programs(answer, reference) is None
