"""Two closed formulas, related as a step says: `√50 = 5√2`, `7! < 6000`, `(1 + i)² = 2i`.

A whole number may be a rounded irrational, and every decimal may be a rounded number; a false equation is one that rounding does not
explain. Plain arithmetic is recognised when it is true and left to `arithmetic` when it is not.
"""

from fractions import Fraction

from stepmark.records import Verdict
from verifiers._algebra.contexts import Context
from verifiers._algebra.formulas import Call, Joined, Minus, Name, Number, Tree, names, parts
from verifiers._algebra.ratios import numerators, ratios
from verifiers._algebra.statements import Link
from verifiers._algebra.values import BASE, PI, UndefinedError, Value, evaluate, midpoint, order
from verifiers.math.lexicon import ROUNDING

__all__ = ["Judgement", "has_decimals", "judge_closed", "judge_complex"]

Judgement = tuple[Verdict, str]
CLOSE = Fraction(1, 20)
"""Relative error up to which a value with decimals, or a rounded one, is not called false."""
ROUGHLY = Fraction(1, 10)
"""Relative error up to which "about" is not called false."""
BASES = ("10", "2", "2.718281828459045235360287471352662497757")
"""What the base of a logarithm may be that shows none; e to forty digits."""
SQUARE_OF_I = Joined("+", Joined("^", Name("i"), Number(Fraction(2))), Number(Fraction(1)))
"""What is zero when i is the imaginary unit."""


def judge_closed(link: Link, left: Tree, right: Tree, context: Context) -> Judgement | None:
    """The verdict and why; None where two equal numbers are written."""
    readings = [_judged(link, left, right, Fraction(base), context) for base in (BASES if _is_baseless(left, right) else BASES[:1])]
    return next((reading for reading in readings if reading is None or reading[0] is not Verdict.INCORRECT), readings[0])


def _is_baseless(*sides: Tree) -> bool:
    """Whether a logarithm shows no base."""
    return any(isinstance(part, Call) and part.function == "log" and len(part.arguments) == 1 for side in sides for part in parts(side))


def _judged(link: Link, left: Tree, right: Tree, base: Fraction, context: Context) -> Judgement | None:
    try:
        a, b = evaluate(left, {BASE: base}), evaluate(right, {BASE: base})
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"
    ordered = order(a, b)
    if ordered is None:
        return Verdict.UNKNOWN, "too close to tell"
    if link.relation in ("=", "≈"):
        return _equal(link, (left, right), (a, b), ordered != 0, context)
    if {"<": ordered < 0, ">": ordered > 0, "≤": ordered <= 0, "≥": ordered >= 0, "≠": ordered != 0}[link.relation]:
        return Verdict.CORRECT, ""
    if context.is_supposed or link.index or has_decimals(left, right):
        return Verdict.UNKNOWN, "it may be tried or denied"
    return Verdict.INCORRECT, f"{_number(a)} against {_number(b)}"


def _equal(link: Link, sides: tuple[Tree, Tree], values: tuple[Value, Value], different: bool, context: Context) -> Judgement | None:
    a, b = map(midpoint, values)
    if not different or _rounds(sides[0], b, a) or _rounds(sides[1], a, b):
        return None if all(isinstance(side, Number) for side in sides) else (Verdict.CORRECT, "")
    if _may_be_rounded(link, sides, values, context):
        return Verdict.UNKNOWN, "off by rounding at most"
    if not any(map(_is_closed_form, sides)):
        return Verdict.UNKNOWN, "plain arithmetic"
    if all(isinstance(side, Minus | Number) for side in sides):
        return Verdict.UNKNOWN, "two numbers"
    return Verdict.INCORRECT, f"the left side is {_number(a)}, the right side {_number(b)}"


def _may_be_rounded(link: Link, sides: tuple[Tree, Tree], values: tuple[Value, Value], context: Context) -> bool:
    a, b = map(midpoint, values)
    relative = abs(a - b) / max(abs(a), abs(b))
    if link.relation == "≈" and relative <= ROUGHLY:
        return True
    shown = any(isinstance(side, Number) for side in sides)
    whole = all(isinstance(value, Fraction) and value.denominator == 1 for value in values)
    if shown and not whole and not ROUNDING.isdisjoint(context.claim.step.lower().split()):
        return True
    exact = all(isinstance(value, Fraction) for value in values)
    return relative <= CLOSE and (has_decimals(*sides) or (shown and not exact))


def _rounds(side: Tree, exact: Fraction, shown: Fraction) -> bool:
    """Whether the side is one decimal that shows the other one's value rounded."""
    while isinstance(side, Minus):
        side = side.operand
    return isinstance(side, Number) and side.decimals > 0 and abs(exact - shown) <= Fraction(1, 2 * 10**side.decimals)


def _is_closed_form(tree: Tree) -> bool:
    """Whether there is more to it than the four operations: a root, pi, a function, a factorial."""
    return any((isinstance(part, Call) and part.function != "degrees") or part == Name(PI) for part in parts(tree))


def has_decimals(*trees: Tree) -> bool:
    """Whether any number in them is a decimal."""
    return any(isinstance(part, Number) and part.decimals for tree in trees for part in parts(tree))


def judge_complex(left: Tree, right: Tree) -> Judgement:
    """The verdict on `left = right` where i² = −1 and there are no other names."""
    made = ratios(left, right, SQUARE_OF_I)
    if made is None or any(isinstance(part, Call) for side in (left, right) for part in parts(side)):
        return Verdict.UNKNOWN, "not understood"
    square = made[2].above
    if not made[0].below.rem(square) or not made[1].below.rem(square):
        return Verdict.UNKNOWN, "no value"
    a, b = numerators(made[0], made[1])
    if not (a - b).rem(square):
        return Verdict.CORRECT, ""
    if has_decimals(left, right) or "i" not in names(left):
        return Verdict.UNKNOWN, "a condition, or off by rounding"
    return Verdict.INCORRECT, "the sides differ where i² = -1"


def _number(value: Value) -> str:
    shown = midpoint(value)
    return str(shown) if shown.denominator == 1 and abs(shown) < 10**15 else f"{float(shown):.6g}"
