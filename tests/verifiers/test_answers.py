"""Answers: nothing unequal is called correct, nothing equal incorrect, and hostile text is unknown."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepmark.final_answers import final_answer
from stepmark.records import Verdict
from tests.verifiers.cases import DATA, SHARED, rows
from verifiers.answer_forms import second_opinion
from verifiers.answers import Answers
from verifiers.base import AnswerClaim, Finding, ReferenceClaim
from verifiers.isolation.pool import VerifierPool

PAIRS = rows(DATA / "answer_pairs.jsonl")
ALLOWED = {
    "equal": ("correct", "unknown"),
    "different": ("incorrect", "unknown"),
    "open": ("unknown",),
}
FEWEST_PAIRS = 300
LEAST_COVERAGE = 0.95


def _verdict(answer: str, reference: str) -> Verdict:
    return Answers().verify(AnswerClaim(answer=answer, reference=reference)).verdict


def _reference(text: str) -> Finding:
    return Answers().verify(ReferenceClaim(reference=text))


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: f"{case['answer']} | {case['reference']}")
def test_pair_either_way_round(case: dict[str, Any]) -> None:
    assert _verdict(case["answer"], case["reference"]) == case["verdict"]
    assert _verdict(case["reference"], case["answer"]) == case["verdict"]


def test_the_table_says_nothing_false_and_most_that_is_true() -> None:
    assert (
        len(PAIRS) == len({(case["answer"], case["reference"]) for case in PAIRS}) >= FEWEST_PAIRS
    )
    assert all(case["verdict"] in ALLOWED[case["truth"]] for case in PAIRS)
    found = Counter((case["truth"], case["verdict"]) for case in PAIRS)
    assert found["equal", "correct"] >= LEAST_COVERAGE * (
        found["equal", "correct"] + found["equal", "unknown"]
    )


def test_real_answers_are_graded_as_people_graded_them() -> None:
    path = SHARED / "gsm8k-model-solutions-dev.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path.name} in shared/data beside the repository")
    graded = Counter[tuple[str, bool]]()
    for row in rows(path):
        reference = final_answer(row["ground_truth"])
        for told in (value for value in row.values() if isinstance(value, dict)):
            answer = final_answer(told["solution"])
            if answer is not None and reference is not None:
                graded[_verdict(answer, reference).value, told["is_correct"]] += 1
    assert graded.keys() == {("correct", True), ("incorrect", False)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        ("0.1", "0.10000001"),
    ],
)
def test_math_verify_alone_would_call_equal_what_is_not(one: str, other: str) -> None:
    assert second_opinion.says_equal(one, other)
    assert _verdict(one, other) is Verdict.INCORRECT


@pytest.mark.parametrize("agrees", [True, False])
def test_a_formula_is_equal_only_when_both_checks_say_so(
    monkeypatch: pytest.MonkeyPatch, agrees: bool
) -> None:
    monkeypatch.setattr(second_opinion, "says_equal", lambda one, other: agrees)
    assert _verdict(r"\sqrt{12}", r"2\sqrt{3}") is (Verdict.CORRECT if agrees else Verdict.UNKNOWN)
    assert _verdict(r"\sqrt{12}", r"3\sqrt{2}") is Verdict.INCORRECT


@given(
    st.fractions(min_value=-(10**9), max_value=10**9),
    st.fractions(min_value=-(10**9), max_value=10**9),
)
def test_fractions_are_compared_exactly(a: Any, b: Any) -> None:
    assert _verdict(str(a), rf"\frac{{{b.numerator}}}{{{b.denominator}}}") is (
        Verdict.CORRECT if a == b else Verdict.INCORRECT
    )


@given(st.integers(min_value=0, max_value=10**12))
def test_spellings_of_a_number(number: int) -> None:
    plain = str(number)
    for spelling in (
        f"{number:,}",
        plain + ".0",
        r"\$" + plain,
        f"${plain}$",
        plain + " apples",
        plain + ".",
        "+" + plain,
        "x = " + plain,
    ):
        assert _verdict(spelling, plain) is Verdict.CORRECT


def _formula(chance: Random, depth: int) -> tuple[str, Fraction]:
    """A closed formula and its value."""
    number = chance.randrange(100)
    if depth == 0 or chance.random() < 0.3:
        return (
            (str(number), Fraction(number))
            if chance.random() < 0.7
            else (f"({number})^2", Fraction(number**2))
        )
    (left, a), (right, b) = _formula(chance, depth - 1), _formula(chance, depth - 1)
    ways = [
        (f"({left} + {right})", a + b),
        (f"({left} - {right})", a - b),
        (rf"({left}) \cdot ({right})", a * b),
    ]
    if b:
        ways.append((rf"\frac{{{left}}}{{{right}}}", a / b))
    return chance.choice(ways)


@given(st.integers(min_value=0))
def test_closed_formulas_have_the_value_they_should(seed: int) -> None:
    formula, value = _formula(Random(seed), 3)
    assert _verdict(formula, str(value)) is Verdict.CORRECT
    assert _verdict(rf"\{{{formula}, 1000000\}}", rf"\{{1000000, {value}\}}") is Verdict.CORRECT
    assert _verdict(formula, str(value + 1)) is Verdict.INCORRECT


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_decided_alike_either_way_round(a: str, b: str) -> None:
    assert _verdict(a, b) is _verdict(b, a)


PIECES = (
    *"0123456789abcefinx+-*/^_=<>()[]{}|!,;:.%&$'\"~ \n\0\ud800\u202e",
    *(
        r"\frac",
        r"\sqrt",
        r"\binom",
        r"\left(",
        r"\right)",
        r"\{",
        r"\}",
        r"\\",
        r"\pm",
        r"\cup",
        r"\in",
        r"\infty",
        r"\pi",
        r"\le",
        r"\text{",
    ),
    *(
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\sin",
        r"\ln",
        r"\log_",
        r"^\circ",
        r"\def\a{",
        r"\input{",
        r"\boxed{",
        "!!!",
        "^9^9^9",
    ),
    *(
        "99999999",
        "10^{",
        "__import__('os')",
        "lambda:",
        " and ",
        " or ",
        "(A)",
        "yes",
        "million",
        "1,000",
        "½",
        "²",
        "∞",
        "√",
        "x = ",
    ),
)


def _hostile() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


@settings(max_examples=4_000)
@given(_hostile())
def test_what_is_hostile_is_never_equal_to_a_number_and_never_raises(text: str) -> None:
    finding = Answers().verify(AnswerClaim(answer=text, reference="123456789/7"))
    assert finding.verdict is not Verdict.CORRECT
    _reference(text)


@settings(max_examples=2_000)
@given(_hostile(), _hostile())
def test_what_is_hostile_is_decided_alike_either_way_round(a: str, b: str) -> None:
    assert _verdict(a, b) is _verdict(b, a)


HOSTILE = (
    "9^{9^{9^{9}}}",
    "(" * 20 + "9" + "^{99})" * 20,
    "99999999999!",
    "((99!)!)!",
    r"\binom{99999999}{49999999}",
    r"2^{2^{64}}\pi",
    r"\sin(10^{10^{9}})",
    r"e^{e^{e^{e^{e}}}}",
    r"\frac{1}{" * 300 + "2" + "}" * 300,
    "{" * 900 + "x" + "}" * 900,
    "x^" * 400 + "x",
    "+".join(f"x^{{{n}}}" for n in range(120)),
    "(x+1)" * 190,
    r"\sqrt{" * 20 + "2" + "}" * 20,
    r"\def\a{\a\a}\a",
    "1" * 1_900,
    ",".join("123456789"[n % 9] for n in range(900)),
    r"\pm" * 300 + "1",
    "x = " * 400 + "1",
    "1 < " * 400 + "x",
    "(1, " * 300 + "1" + ")" * 300,
    "\0\ud800\u202e",
)


async def test_hostile_answers_are_answered_by_a_worker_that_lives() -> None:
    async with VerifierPool(workers=1, deadline=20.0) as isolated:
        for text in HOSTILE:
            for reference in ("1", r"\sqrt{2}", "x+1", text + "+0", r"\{1, x\}"):
                finding = await isolated.verify(
                    "answers", AnswerClaim(answer=text, reference=reference)
                )
                assert finding.reason not in ("timeout", "worker died", "out of memory"), (
                    text[:40],
                    reference,
                )
                assert not finding.reason.startswith("verifier failed"), (text[:40], finding.reason)


def _gsm8k_references() -> Iterator[str]:
    for row in rows(SHARED / "gsm8k-test.jsonl"):
        reference = final_answer(row["answer"])
        assert reference is not None
        yield reference


def test_every_plain_reference_is_understood() -> None:
    if not SHARED.exists():
        pytest.skip("needs gsm8k-test.jsonl in shared/data beside the repository")
    assert all(
        _reference(reference).verdict is Verdict.CORRECT for reference in _gsm8k_references()
    )


@pytest.mark.parametrize(
    "reference",
    [
        "18",
        "$1,000",
        r"\frac{3}{4}",
        "x^2 + 1",
        "(1, 2)",
        r"[0, \infty)",
        r"\{1, 2\}",
        "x = 5",
        "(C)",
        "Friday",
        r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
    ],
)
def test_a_reference_that_other_spellings_can_be_compared_with(reference: str) -> None:
    assert _reference(reference).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    "reference",
    [
        "",
        " ",
        "$$",
        "?",
        "...",
        r"1, 2, \ldots",
        r"\sum_{k=1}^n k",
        "1/0",
        "9^9^9^9",
        r"\frac{1",
        "because it is so " * 20,
        "1" * 3_000,
        "\0",
    ],
)
def test_a_reference_that_nothing_can_be_compared_with(reference: str) -> None:
    finding = _reference(reference)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason
