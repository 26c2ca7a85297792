"""Properties of generated arithmetic: true equations hold in every style, false ones do not."""

from collections.abc import Callable, Mapping
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.arithmetic import Arithmetic
from verifiers.base import Finding, StepClaim
from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value
from verifiers.math.syntax import Combined, Number, Tree

# Parentheses are written only where the order of operations needs them.
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
PLAIN = {operator: operator for operator in PRECEDENCE}
LATEX = {"+": "+", "-": "-", "*": r"\times", "/": r"\div"}
UNICODE = {"+": "+", "-": "−", "*": "×", "/": "÷"}


def _write(
    tree: Tree, number: Callable[[Fraction], str], signs: Mapping[str, str], gap: str
) -> str:
    match tree:
        case Number():
            return number(tree.value)
        case Combined(operator, left, right):
            left_text = _write(left, number, signs, gap)
            if isinstance(left, Combined) and PRECEDENCE[left.operator] < PRECEDENCE[operator]:
                left_text = f"({left_text})"
            right_text = _write(right, number, signs, gap)
            if isinstance(right, Combined) and PRECEDENCE[right.operator] <= PRECEDENCE[operator]:
                right_text = f"({right_text})"
            return f"{left_text}{gap}{signs[operator]}{gap}{right_text}"
        case _:
            raise AssertionError("not generated")


def _latex(tree: Tree) -> str:
    match tree:
        case Combined("/", left, right):
            return rf"\frac{{{_latex(left)}}}{{{_latex(right)}}}"
        case Combined(operator, left, right):
            return rf"\left({_latex(left)}\right) {LATEX[operator]} \left({_latex(right)}\right)"
        case _:
            return _write(tree, str, LATEX, " ")


STYLES: Mapping[str, Callable[[Tree], str]] = {
    "plain": lambda tree: _write(tree, str, PLAIN, " "),
    "tight": lambda tree: _write(tree, str, PLAIN, ""),
    "unicode": lambda tree: _write(tree, str, UNICODE, " "),
    "thousands": lambda tree: _write(tree, lambda number: f"{int(number):,}", PLAIN, " "),
    "dollars": lambda tree: _write(tree, lambda number: f"${int(number):,}", PLAIN, " "),
    "units": lambda tree: _write(tree, lambda number: f"{number} apples", PLAIN, " "),
    "latex": _latex,
    "latex signs": lambda tree: _write(tree, str, LATEX, " "),
}
# Five digits, so that the style with thousands separators differs from the plain one.
NUMBERS = st.integers(min_value=0, max_value=99_999).map(lambda number: Number(Fraction(number)))
TREES = st.recursive(
    NUMBERS,
    lambda inner: st.builds(Combined, st.sampled_from("+-*/"), inner, inner),
    max_leaves=6,
)
# A number alone is not an equation, and a division by zero has no value.
EXPRESSIONS = TREES.filter(
    lambda tree: isinstance(tree, Combined) and exact_value(tree) is not None
)
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.builds(Combined, st.sampled_from("+-"), inner, inner),
    max_leaves=6,
).filter(lambda tree: isinstance(tree, Combined))
HOURS = 24
STYLE_NAMES = st.sampled_from(sorted(STYLES))
FRAMES = st.sampled_from(
    [
        "{}",
        "So we get {}.",
        "Step 3: Ben has more: {}, so Ben is done.",
        r"\({}\)",
        "$${}$$",
        "**{}**",
        "- {}\n",
    ]
)


def _finding(step: str) -> Finding:
    return Arithmetic().verify(StepClaim(question="", previous=(), step=step))


@given(TREES, STYLE_NAMES)
def test_text_round_trip(tree: Tree, style: str) -> None:
    sequence = tokens(STYLES[style](tree))
    parsed = parse(sequence)
    assert parsed is not None
    assert parsed[1] == len(sequence)
    assert exact_value(parsed[0]) == exact_value(tree)


@given(EXPRESSIONS, STYLE_NAMES, FRAMES)
def test_true_equation(tree: Tree, style: str, frame: str) -> None:
    equation = f"{STYLES[style](tree)} = {exact_value(tree)}"
    assert result_of(_finding(frame.format(equation))) == "correct"


@given(EXPRESSIONS, STYLE_NAMES, FRAMES, st.integers(min_value=-1000, max_value=1000))
def test_false_equation(tree: Tree, style: str, frame: str, error: int) -> None:
    exact = exact_value(tree)
    # The right side is an integer, so that no rounding can make a false equation acceptable.
    assume(error and exact is not None and exact.denominator == 1)
    assert exact is not None
    equation = f"{STYLES[style](tree)} = {exact + error}"
    finding = _finding(frame.format(equation))
    # With commas and divisions, another notation may make the equation true.
    if not finding.reason.endswith("true in another notation"):
        assert result_of(finding) in ("incorrect", "suspicion")


@given(SUMS, st.sampled_from(["plain", "latex signs"]), st.integers(min_value=2, max_value=9))
def test_false_sum_is_incorrect(tree: Tree, style: str, factor: int) -> None:
    exact = exact_value(tree)
    assume(exact)
    assert exact is not None
    # No units differ by such a factor.
    finding = _finding(f"{STYLES[style](tree)} = {exact * (factor + 20)}")
    assert result_of(finding) == ("suspicion" if factor + 20 == HOURS else "incorrect")


@given(EXPRESSIONS, st.integers(min_value=1, max_value=6))
def test_rounded_result(tree: Tree, decimals: int) -> None:
    exact = exact_value(tree)
    assert exact is not None
    rounded = round(exact, decimals)
    # Written without floating-point numbers, which cannot hold all digits of large results.
    integer, part = divmod(int(abs(rounded) * 10**decimals), 10**decimals)
    sign = "-" if rounded < 0 else ""
    text = f"{sign}{integer}.{part:0{decimals}d}"
    assert result_of(_finding(f"{STYLES['plain'](tree)} = {text}")) == "correct"


@given(st.text(max_size=200))
def test_any_text_gets_verdict(text: str) -> None:
    assert _finding(text).verdict in set(Verdict)


@given(st.text(alphabet="0123456789+-*/^()=.,$% \\{}xfrac", max_size=60))
def test_any_formula_gets_verdict(text: str) -> None:
    assert _finding(text).verdict in set(Verdict)
