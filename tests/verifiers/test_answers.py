"""Answers: unequal pairs are never correct, equal ones never incorrect, and no text raises."""

from collections import Counter
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepmark.final_answers import final_answer
from stepmark.records import Verdict
from tests.json_lines import read_json_lines
from tests.verifiers.cases import DATA, SHARED
from verifiers.answer_forms import measures, second_opinion
from verifiers.answers import Answers
from verifiers.arithmetic_rules import conversions
from verifiers.base import AnswerClaim, Finding, ReferenceClaim
from verifiers.isolation.pool import VerifierPool
from verifiers.math.lexicon import FAMILIES

PAIRS = read_json_lines(DATA / "answer_pairs.jsonl")
# Kinds of answers that other graders get wrong. `expect` contains the allowed verdicts.
KINDS = read_json_lines(DATA / "answer_kinds.jsonl")
# Abstaining is always allowed; a verdict must agree with the truth.
ALLOWED = {
    "equal": ("correct", "unknown"),
    "different": ("incorrect", "unknown"),
    "open": ("unknown",),
}
# Bounds for the size of the table and for the share of equal pairs that are decided.
MIN_PAIRS = 300
MIN_COVERAGE = 0.95


def _verdict(answer: str, reference: str) -> Verdict:
    return Answers().verify(AnswerClaim(answer=answer, reference=reference)).verdict


def _reference(text: str) -> Finding:
    return Answers().verify(ReferenceClaim(reference=text))


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: f"{case['answer']} | {case['reference']}")
def test_pair_in_both_orders(case: dict[str, Any]) -> None:
    assert _verdict(case["answer"], case["reference"]) == case["verdict"]
    assert _verdict(case["reference"], case["answer"]) == case["verdict"]


def _case_id(case: dict[str, Any]) -> str:
    return f"{case['kind']}: {case.get('solution', case.get('answer'))} | {case['reference']}"


@pytest.mark.parametrize("case", KINDS, ids=_case_id)
def test_kinds_of_answers(case: dict[str, Any]) -> None:
    answer = case["answer"] if "answer" in case else final_answer(case["solution"])
    verdict = Verdict.UNKNOWN
    if answer is not None:
        verdict = _verdict(answer, case["reference"])
        assert _verdict(case["reference"], answer) is verdict
    assert verdict.value in case["expect"].split("|")


@pytest.mark.parametrize("exact", ["22/9", "1/7", "-2/3", "10/3", "1/30000", "2^{70}/3"])
@pytest.mark.parametrize("places", [None, 2, 6, 12])
def test_float_is_never_incorrect(exact: str, places: int | None) -> None:
    value = float(Fraction(exact.replace("2^{70}", str(2**70))))
    if places is None:
        assert _verdict(repr(value), exact) is Verdict.CORRECT
    else:
        assert _verdict(str(round(value, places)), exact) is not Verdict.INCORRECT


def test_case_table_is_sound() -> None:
    assert len(PAIRS) == len({(case["answer"], case["reference"]) for case in PAIRS}) >= MIN_PAIRS
    assert all(case["verdict"] in ALLOWED[case["truth"]] for case in PAIRS)
    verdicts = Counter((case["truth"], case["verdict"]) for case in PAIRS)
    decided = verdicts["equal", "correct"]
    undecided = verdicts["equal", "unknown"]
    assert decided >= MIN_COVERAGE * (decided + undecided)


def test_grades_agree_with_human_grades() -> None:
    path = SHARED / "gsm8k-model-solutions-dev.jsonl"
    if not path.exists():
        pytest.skip(f"needs {path.name} in shared/data next to the repository")
    grades = set[tuple[Verdict, bool]]()
    for row in read_json_lines(path):
        reference = final_answer(row["ground_truth"])
        for solution in row.values():
            # The other fields are texts, such as the reference solution.
            if not isinstance(solution, dict):
                continue
            answer = final_answer(solution["solution"])
            if answer is not None and reference is not None:
                grades.add((_verdict(answer, reference), solution["is_correct"]))
    assert grades == {(Verdict.CORRECT, True), (Verdict.INCORRECT, False)}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        # Values that are equal only after rounding.
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        ("0.1", "0.10000001"),
    ],
)
def test_math_verify_alone_is_wrong(left: str, right: str) -> None:
    assert second_opinion.says_equal(left, right)
    assert _verdict(left, right) is Verdict.INCORRECT


@pytest.mark.parametrize("agrees", [True, False])
def test_equal_formulas_need_second_opinion(monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
    monkeypatch.setattr(second_opinion, "says_equal", lambda left, right: agrees)
    expected = Verdict.CORRECT if agrees else Verdict.UNKNOWN
    assert _verdict(r"\sqrt{12}", r"2\sqrt{3}") is expected
    # Unequal values need no second opinion.
    assert _verdict(r"\sqrt{12}", r"3\sqrt{2}") is Verdict.INCORRECT


def _unit_names() -> list[str]:
    """Return the names of all units that convert, in answers and in steps."""
    names = {*FAMILIES, *conversions.SPELLINGS}
    for dimension in conversions.TABLE:
        names.update(dimension)
    for sizes in measures.SIZES.values():
        for spellings in sizes:
            names.update(spellings.split())
    # The lexicon's names of plurals without their s are no words.
    return sorted(names - {"centurie", "inche", "pennie"})


@pytest.mark.parametrize("unit", _unit_names())
def test_answers_keep_units_that_convert(unit: str) -> None:
    assert final_answer(f"The answer is 5 {unit}.") == f"5 {unit}"


def test_ratios_of_units_agree_with_steps() -> None:
    # Steps convert within one system, answers between systems, and both have tables.
    sizes = dict[str, Fraction]()
    for spellings in measures.SIZES.values():
        for names, size in spellings.items():
            sizes[names.split()[0]] = Fraction(size)
    compared = 0
    for dimension in conversions.TABLE:
        common = sorted(dimension.keys() & sizes.keys())
        ratios = {sizes[name] / dimension[name] for name in common}
        assert len(ratios) <= 1, common
        compared += len(common)
    assert compared >= 24


FRACTIONS = st.fractions(min_value=-(10**9), max_value=10**9)


@given(FRACTIONS, FRACTIONS)
def test_fractions_are_compared_exactly(a: Fraction, b: Fraction) -> None:
    expected = Verdict.CORRECT if a == b else Verdict.INCORRECT
    assert _verdict(str(a), rf"\frac{{{b.numerator}}}{{{b.denominator}}}") is expected


@pytest.mark.parametrize("spelling", ["{}.0", r"\${}", "${}$", "{} apples", "{}.", "+{}", "x = {}"])
@given(st.integers(min_value=0, max_value=10**12))
def test_spellings_of_number(spelling: str, number: int) -> None:
    assert _verdict(spelling.format(number), str(number)) is Verdict.CORRECT
    assert _verdict(f"{number:,}", str(number)) is Verdict.CORRECT


def _formula(random: Random, depth: int) -> tuple[str, Fraction]:
    """Return a closed formula and its value."""
    number = random.randrange(100)
    # Some branches end early, so that formulas of all shapes are generated.
    if depth == 0 or random.random() < 0.3:
        if random.random() < 0.7:
            return str(number), Fraction(number)
        return f"({number})^2", Fraction(number**2)
    left, a = _formula(random, depth - 1)
    right, b = _formula(random, depth - 1)
    choices = [
        (f"({left} + {right})", a + b),
        (f"({left} - {right})", a - b),
        (rf"({left}) \cdot ({right})", a * b),
    ]
    # No division by zero.
    if b:
        choices.append((rf"\frac{{{left}}}{{{right}}}", a / b))
    return random.choice(choices)


@given(st.integers(min_value=0))
def test_value_of_closed_formula(seed: int) -> None:
    formula, value = _formula(Random(seed), 3)
    assert _verdict(formula, str(value)) is Verdict.CORRECT
    # The elements of a set have no order.
    assert _verdict(rf"\{{{formula}, 1000000\}}", rf"\{{1000000, {value}\}}") is Verdict.CORRECT
    assert _verdict(formula, str(value + 1)) is Verdict.INCORRECT


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_compared_symmetrically(a: str, b: str) -> None:
    assert _verdict(a, b) is _verdict(b, a)


PIECES = [*"0123456789abcefinx+-*/^_=<>()[]{}|!,;:.%&$'\"~ \n\0\ud800\u202e"]
PIECES += [r"\frac", r"\sqrt", r"\binom", r"\left(", r"\right)", r"\{", r"\}", r"\\", r"\pm"]
PIECES += [r"\cup", r"\in", r"\infty", r"\pi", r"\le", r"\text{", r"\begin{pmatrix}"]
PIECES += [r"\end{pmatrix}", r"\sin", r"\ln", r"\log_", r"^\circ", r"\def\a{", r"\input{"]
PIECES += [r"\boxed{", "!!!", "^9^9^9", "99999999", "10^{", "__import__('os')", "lambda:"]
PIECES += [
    r"\sum_{k=1}^{",
    r"\prod_{i=1}^{9}",
    r"\begin{cases}",
    r"\end{cases}",
    r"\ne ",
    "ft",
    "in",
]
PIECES += [
    " cents",
    " hours",
    " per ",
    "abs(",
    "sum(",
    "Matrix([[",
    "%pi",
    r"\lg ",
    "_2",
    '["',
    "个",
]
PIECES += [" and ", " or ", "(A)", "yes", "million", "1,000", "½", "²", "∞", "√", "x = "]


def _hostile() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


@settings(max_examples=4_000)
@given(_hostile())
def test_hostile_text_is_never_correct(text: str) -> None:
    finding = Answers().verify(AnswerClaim(answer=text, reference="123456789/7"))
    assert finding.verdict is not Verdict.CORRECT
    _reference(text)


@settings(max_examples=2_000)
@given(_hostile(), _hostile())
def test_hostile_text_is_compared_symmetrically(a: str, b: str) -> None:
    assert _verdict(a, b) is _verdict(b, a)


# Units by their size in the smallest one.
UNITS = (
    {"mm": 1, "cm": 10, "meters": 1_000, "km": 1_000_000},
    {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400},
    {"in": 1, "feet": 12, "yards": 36, "miles": 63_360},
    {"cents": 1, "dollars": 100},
)


def _measure(random: Random, size: Fraction, units: dict[str, int]) -> str:
    unit = random.choice(list(units))
    value = size / units[unit]
    if value.denominator == 1 or random.random() < 0.5:
        return f"{value} {unit}"
    return f"{float(value)!r} {unit}"


@given(st.integers(min_value=0))
def test_measures_are_compared_by_size(seed: int) -> None:
    random = Random(seed)
    units = random.choice(UNITS)
    size = Fraction(random.randrange(1, 10_000))
    other = size + random.randrange(1, 100)
    first = _measure(random, size, units)
    assert _verdict(first, _measure(random, size, units)) is not Verdict.INCORRECT
    assert _verdict(first, _measure(random, other, units)) is not Verdict.CORRECT


def _half_line(random: Random, bound: int, *, above: bool, closed: bool) -> str:
    """Return one of the spellings of x > bound and the like."""
    scale = random.choice([1, 2, -3])
    sign = ">" if above is (scale > 0) else "<"
    sign = {">": r"\ge", "<": r"\le"}[sign] if closed else sign
    left = "x" if scale == 1 else f"{scale}x"
    return f"{left} + 5 {sign} {scale * bound + 5}"


@given(st.integers(min_value=0))
def test_inequalities_are_compared_as_sets(seed: int) -> None:
    random = Random(seed)
    low = random.randrange(-9, 9)
    high = low + random.randrange(1, 9)
    closed = random.random() < 0.5
    outside = [
        _half_line(random, low, above=False, closed=closed),
        _half_line(random, high, above=True, closed=False),
    ]
    random.shuffle(outside)
    union = " or ".join(outside)
    end = "]" if closed else ")"
    other_end = ")" if closed else "]"
    infinite = rf"({high}, \infty)"
    assert _verdict(union, rf"(-\infty, {low}{end} \cup {infinite}") is Verdict.CORRECT
    assert _verdict(union, rf"(-\infty, {low}{other_end} \cup {infinite}") is Verdict.INCORRECT
    assert _verdict(union, rf"{infinite} \cup (-\infty, {low - 1}{end}") is Verdict.INCORRECT
    inside = [
        _half_line(random, low, above=True, closed=closed),
        _half_line(random, high, above=False, closed=False),
    ]
    start = "[" if closed else "("
    assert _verdict(" and ".join(inside), f"{start}{low}, {high})") is Verdict.CORRECT
    assert _verdict(" and ".join(inside), union) is Verdict.INCORRECT


# Most of these texts need too much time, memory or stack in a simple implementation.
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
    r"\sum_{k=1}^{300}\sin(kx)",
    r"\sum_{k=1}^{300}x^k",
    r"\prod_{k=1}^{300}10^{60}",
    "+".join([r"(\sum_{k=1}^{99}\sqrt{k})"] * 20),
    " and ".join(rf"x \ne \sqrt{{{n}}}" for n in range(2, 60)),
    " or ".join(rf"x < \sqrt[7]{{{n}}}" for n in range(2, 60)),
    "(" * 300 + "x < 1" + ")" * 300,
    "abs(" * 490,
    "Matrix([[" + ",".join("1" * 300) + "]])",
    "5 ft " * 24,
    r"\begin{cases}" + r"x & x > 1 \\" * 60 + r"\end{cases}",
    "e^{" * 20 + "i" + "}" * 20,
    "\0\ud800\u202e",
)


async def test_worker_survives_hostile_answers() -> None:
    async with VerifierPool(workers=1, deadline=20.0) as isolated:
        for text in HOSTILE:
            # Each text meets a number, a root, a formula, a variant of itself and a set.
            for reference in ("1", r"\sqrt{2}", "x+1", text + "+0", r"\{1, x\}"):
                finding = await isolated.verify(
                    "answers", AnswerClaim(answer=text, reference=reference)
                )
                assert finding.reason not in ("timeout", "worker died", "out of memory"), (
                    text[:40],
                    reference,
                )
                assert not finding.reason.startswith("verifier failed"), (text[:40], finding.reason)


def test_every_gsm8k_reference_is_understood() -> None:
    if not SHARED.exists():
        pytest.skip("needs gsm8k-test.jsonl in shared/data next to the repository")
    for row in read_json_lines(SHARED / "gsm8k-test.jsonl"):
        reference = final_answer(row["answer"])
        assert reference is not None
        assert _reference(reference).verdict is Verdict.CORRECT


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
def test_comparable_reference(reference: str) -> None:
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
        # Longer than the limit of the verifier, 2,000 characters.
        "1" * 3_000,
        "\0",
    ],
)
def test_incomparable_reference(reference: str) -> None:
    finding = _reference(reference)
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.reason
