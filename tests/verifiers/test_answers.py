from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.cases import DATA, rows
from verifiers.answers import Answers
from verifiers.base import AnswerClaim


def _verdict(answer: str, reference: str) -> Verdict:
    return Answers().verify(AnswerClaim(answer=answer, reference=reference)).verdict


@pytest.mark.parametrize("case", rows(DATA / "answers.jsonl"), ids=lambda case: f"{case['answer']} | {case['reference']}")
def test_case_either_way_round(case: dict[str, Any]) -> None:
    assert _verdict(case["answer"], case["reference"]) == case["verdict"]
    assert _verdict(case["reference"], case["answer"]) == case["verdict"]


@given(st.fractions(min_value=-(10**9), max_value=10**9), st.fractions(min_value=-(10**9), max_value=10**9))
def test_fractions_are_compared_exactly(a: Any, b: Any) -> None:
    assert _verdict(str(a), rf"\frac{{{b.numerator}}}{{{b.denominator}}}") is (Verdict.CORRECT if a == b else Verdict.INCORRECT)


@given(st.integers(min_value=0, max_value=10**12))
def test_spellings_of_a_number(number: int) -> None:
    for spelling in (f"{number:,}", f"{number}.0", rf"\${number}", f"${number}$", f"{number} apples", f"{number}.", f" +{number} "[2:]):
        assert _verdict(spelling, str(number)) is Verdict.CORRECT


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_decided_alike_either_way_round(a: str, b: str) -> None:
    assert _verdict(a, b) is _verdict(b, a)
