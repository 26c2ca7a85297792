"""True equations are correct in every style, false ones incorrect: properties over generated arithmetic."""

from collections.abc import Callable, Mapping
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from stepmark.records import Verdict
from verifiers.arithmetic import Arithmetic
from verifiers.base import StepClaim
from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value
from verifiers.math.syntax import Combined, Number, Tree

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
LATEX = {"+": "+", "-": "-", "*": r"\times", "/": r"\div"}
UNICODE = {"+": "+", "-": "−", "*": "×", "/": "÷"}


def _write(
    node: Tree, number: Callable[[Fraction], str], signs: Mapping[str, str], gap: str
) -> str:
    match node:
        case Number():
            return number(node.value)
        case Combined(operator, left, right):
            sides = [_write(side, number, signs, gap) for side in (left, right)]
            if isinstance(left, Combined) and PRECEDENCE[left.operator] < PRECEDENCE[operator]:
                sides[0] = f"({sides[0]})"
            if isinstance(right, Combined) and PRECEDENCE[right.operator] <= PRECEDENCE[operator]:
                sides[1] = f"({sides[1]})"
            return f"{sides[0]}{gap}{signs[operator]}{gap}{sides[1]}"
        case _:
            raise AssertionError("not generated")


def _latex(node: Tree) -> str:
    match node:
        case Combined("/", left, right):
            return rf"\frac{{{_latex(left)}}}{{{_latex(right)}}}"
        case Combined(operator, left, right):
            return rf"\left({_latex(left)}\right) {LATEX[operator]} \left({_latex(right)}\right)"
        case _:
            return _write(node, str, LATEX, " ")


PLAIN = {operator: operator for operator in PRECEDENCE}
STYLES: Mapping[str, Callable[[Tree], str]] = {
    "plain": lambda node: _write(node, str, PLAIN, " "),
    "tight": lambda node: _write(node, str, PLAIN, ""),
    "unicode": lambda node: _write(node, str, UNICODE, " "),
    "thousands": lambda node: _write(node, lambda number: f"{int(number):,}", PLAIN, " "),
    "dollars": lambda node: _write(node, lambda number: f"${int(number):,}", PLAIN, " "),
    "units": lambda node: _write(node, lambda number: f"{number} apples", PLAIN, " "),
    "latex": _latex,
    "latex signs": lambda node: _write(node, str, LATEX, " "),
}
numbers = st.integers(min_value=0, max_value=99_999).map(lambda number: Number(Fraction(number)))
nodes = st.recursive(
    numbers, lambda inner: st.builds(Combined, st.sampled_from("+-*/"), inner, inner), max_leaves=6
)
sums = nodes.filter(lambda node: isinstance(node, Combined) and exact_value(node) is not None)
styles = st.sampled_from(sorted(STYLES))
frames = st.sampled_from(
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


def _verdict(step: str) -> Verdict:
    return Arithmetic().verify(StepClaim(question="", previous=(), step=step)).verdict


@given(nodes, styles)
def test_text_round_trip(node: Tree, style: str) -> None:
    words = tokens(STYLES[style](node))
    read = parse(words)
    assert read is not None
    assert read[1] == len(words)
    assert exact_value(read[0]) == exact_value(node)


@given(sums, styles, frames)
def test_true_equation(node: Tree, style: str, frame: str) -> None:
    assert _verdict(frame.format(f"{STYLES[style](node)} = {exact_value(node)}")) is Verdict.CORRECT


@given(sums, styles, frames, st.integers(min_value=-1000, max_value=1000))
def test_false_equation(node: Tree, style: str, frame: str, error: int) -> None:
    exact = exact_value(node)
    assume(error and exact is not None and exact.denominator == 1)
    assert exact is not None
    assert _verdict(frame.format(f"{STYLES[style](node)} = {exact + error}")) is Verdict.INCORRECT


@given(sums, st.integers(min_value=1, max_value=6))
def test_rounded_result(node: Tree, decimals: int) -> None:
    exact = exact_value(node)
    assert exact is not None
    shown = round(exact, decimals)
    whole, part = divmod(int(abs(shown) * 10**decimals), 10**decimals)
    written = f"{'-' if shown < 0 else ''}{whole}.{part:0{decimals}d}"
    assert _verdict(f"{STYLES['plain'](node)} = {written}") is Verdict.CORRECT


@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    assert _verdict(text) in set(Verdict)


@given(st.text(alphabet="0123456789+-*/^()=.,$% \\{}xfrac", max_size=60))
def test_any_formula_is_answered(text: str) -> None:
    assert _verdict(text) in set(Verdict)
