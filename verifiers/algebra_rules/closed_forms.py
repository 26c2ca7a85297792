"""Judge two closed formulas: `√50 = 5√2`, `7! < 6000`, `(1 + i)² = 2i`.

A whole number may be a rounded irrational one, and every decimal may be rounded: an equation is
false only if rounding does not explain it. Plain arithmetic is confirmed if it is true, and left
to the checker `arithmetic` if it is not. A false comparison is a suspicion: "the triangle
inequality requires 1 + 2 > 4" is right.
"""

from collections.abc import Iterator
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.algebra_rules import values
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.finite_sums import FINITE_SUM, has_series
from verifiers.algebra_rules.identities import SQUARE_OF_I
from verifiers.algebra_rules.ratios import MAX_DEGREE, difference, ratios
from verifiers.algebra_rules.rewritings import is_normal
from verifiers.algebra_rules.statements import Link
from verifiers.arithmetic_rules.equality import NUMBER_FIRST
from verifiers.arithmetic_rules.equations import LETTER_MEANS_TIMES
from verifiers.arithmetic_rules.notations import other_notations
from verifiers.math import syntax
from verifiers.math.exact import exact_value
from verifiers.math.findings import HOLDS, StepJudgement, false, undecided
from verifiers.math.intervals import Real
from verifiers.math.lexicon import ROUNDING
from verifiers.math.syntax import (
    PI,
    Combined,
    Name,
    Negated,
    Number,
    Tree,
    UndefinedError,
    functions,
    has_decimals,
)

# The relative error up to which a rounded value, or one with decimals, is not false.
CLOSE = Fraction(1, 20)
# The relative error up to which "≈" is not false.
ROUGHLY = Fraction(1, 10)
CLOSED_FORM = "closed form"
COMPARISON = "comparison"
COMPLEX = "complex number"
DECIMALS = "decimals on the way are exact"
NO_LETTER = "the letter i is no variable"
APPROXIMATE = "an approximation is close"
PI_MULTIPLIES = "pi is a number, and no function"
PERIOD_OF_I = 4
# A logarithm without a base may be decimal, binary or natural; e is given to forty digits.
NATURAL_BASE = Fraction("2.718281828459045235360287471352662497757")
BASES = (values.DECIMAL_BASE, Fraction(2), NATURAL_BASE)
# The degrees of an angle of pi.
HALF_TURN = Fraction(180)
# Larger numbers are shown with an exponent.
MAX_SHOWN = 10**15


def judge_closed(link: Link, left: Tree, right: Tree, context: Context) -> StepJudgement | None:
    """Judge a relation between closed formulas; None if both sides are the same plain number."""
    bases = BASES if syntax.BARE_LOG in functions(left) | functions(right) else BASES[:1]
    judgements = [_judge(link, left, right, base, context) for base in bases]
    for judgement in judgements:
        if judgement is None or judgement.verdict is not Verdict.INCORRECT:
            return judgement
    return judgements[0]


def judge_complex(left: Tree, right: Tree, context: Context) -> StepJudgement:
    """Judge `left = right` if `i` is the imaginary unit and the only name."""
    if context.gives_i_a_value:
        return undecided("i may be a variable")
    left = _with_small_powers_of_i(left)
    right = _with_small_powers_of_i(right)
    fractions = ratios(left, right, SQUARE_OF_I)
    if fractions is None or functions(left) or functions(right) or _has_large_power(left, right):
        return undecided("not understood")
    first, second, square = fractions
    for ratio in (first, second):
        if not ratio.denominator.rem(square.numerator):
            return undecided("no value")
    if not difference(first, second).rem(square.numerator):
        return HOLDS
    if has_decimals(left, right) or "i" not in syntax.names(left):
        return undecided("a condition, or off by rounding")
    # `2i - 1 = i + 3` gives the letter a value.
    is_condition = all(is_normal(side) and not _multiplies_i(side) for side in (left, right))
    return false(COMPLEX, "the sides differ where i² = -1", NO_LETTER if is_condition else "")


def _multiplies_i(tree: Tree) -> bool:
    """Return whether `i` is in a power or a divisor, or multiplied by something with `i`."""
    for part in syntax.walk(tree):
        match part:
            case Combined("^", base, _) if "i" in syntax.names(base):
                return True
            case Combined("/", _, divisor) if "i" in syntax.names(divisor):
                return True
            case Combined("*", first, second):
                if "i" in syntax.names(first) & syntax.names(second):
                    return True
    return False


def _with_small_powers_of_i(tree: Tree) -> Tree:
    """Return the tree with the exponents of `i` reduced modulo 4."""
    match tree:
        case Combined("^", Name("i") as base, exponent):
            power = exact_value(exponent)
            if power is not None and power.denominator == 1:
                return Combined("^", base, Number(power % PERIOD_OF_I))
            return tree
        case Combined(operator, left, right):
            return Combined(operator, _with_small_powers_of_i(left), _with_small_powers_of_i(right))
        case Negated(operand):
            return Negated(_with_small_powers_of_i(operand))
        case _:
            return tree


def _has_large_power(*trees: Tree) -> bool:
    """Return whether a power has an exponent that is no small whole number."""
    for tree in trees:
        for part in syntax.walk(tree):
            if syntax.is_power(part):
                power = exact_value(part.right)
                if power is None or power.denominator != 1 or abs(power) > MAX_DEGREE:
                    return True
    return False


def _judge(
    link: Link, left: Tree, right: Tree, base: Fraction, context: Context
) -> StepJudgement | None:
    try:
        side_values = (values.evaluate(left, {}, base), values.evaluate(right, {}, base))
    except UndefinedError:
        return undecided("no value")
    sign = values.difference_sign(*side_values)
    if sign is None:
        return undecided("too close to decide")
    if link.relation in ("=", "≈"):
        return _judge_equation(link, (left, right), side_values, sign, context)
    if sign in values.HOLDING_SIGNS[link.relation]:
        return HOLDS
    if link.index > 0 or has_decimals(left, right):
        return undecided("it may be off by rounding")
    reason = f"{_format(side_values[0])} against {_format(side_values[1])}"
    rule = FINITE_SUM if has_series(left, right) else COMPARISON
    return false(rule, reason)


def _judge_equation(
    link: Link,
    sides: tuple[Tree, Tree],
    side_values: tuple[Real, Real],
    sign: int,
    context: Context,
) -> StepJudgement | None:
    left, right = sides
    a = values.midpoint(side_values[0])
    b = values.midpoint(side_values[1])
    if sign == 0 or _is_rounded(left, b, a) or _is_rounded(right, a, b):
        if isinstance(left, Number) and isinstance(right, Number):
            return None
        return HOLDS
    if _may_be_rounded(link, sides, side_values, context):
        return undecided("off by rounding at most")
    if not (_is_closed_form(left) or _is_closed_form(right)):
        return undecided("plain arithmetic")
    if isinstance(left, Negated | Number) and isinstance(right, Negated | Number):
        return undecided("two numbers")
    for other_left, other_right in (*other_notations(left, right), *_with_degrees(left, right)):
        try:
            if values.order(other_left, other_right, {}) == 0:
                return undecided("true in another notation")
        except UndefinedError:
            continue
    reason = f"the left side is {_format(side_values[0])}, the right side {_format(side_values[1])}"
    is_first_number = syntax.signed_number(left) is not None
    return false(
        FINITE_SUM if has_series(left, right) else CLOSED_FORM,
        reason,
        NUMBER_FIRST if is_first_number else "",
        DECIMALS if has_decimals(left, right) else "",
        APPROXIMATE if link.relation == "≈" else "",
        LETTER_MEANS_TIMES if link.reads_letter_as_times else "",
        PI_MULTIPLIES if _may_apply_pi(left) and isinstance(right, Number) else "",
    )


def _may_apply_pi(tree: Tree) -> bool:
    r"""Return whether pi is before a whole number: `\pi(10) = 4` counts primes."""
    for part in syntax.walk(tree):
        match part:
            case Combined("*", first, Number(value)) if first == PI and value.denominator == 1:
                return True
    return False


def _may_be_rounded(
    link: Link, sides: tuple[Tree, Tree], side_values: tuple[Real, Real], context: Context
) -> bool:
    a = values.midpoint(side_values[0])
    b = values.midpoint(side_values[1])
    error = abs(a - b) / max(abs(a), abs(b))
    # `π = 22/7`: the value that is used.
    if PI in sides and error <= CLOSE:
        return True
    if link.relation == "≈" and error <= ROUGHLY:
        return True
    shows_number = isinstance(sides[0], Number) or isinstance(sides[1], Number)
    is_exact = is_whole = True
    for value in side_values:
        is_exact = is_exact and isinstance(value, Fraction)
        is_whole = is_whole and is_exact and value.denominator == 1
    words = context.claim.step.lower().split()
    if shows_number and not is_whole and not ROUNDING.isdisjoint(words):
        return True
    return error <= CLOSE and (has_decimals(*sides) or (shows_number and not is_exact))


def _with_degrees(left: Tree, right: Tree) -> Iterator[tuple[Tree, Tree]]:
    r"""Yield the sides with 180 for pi, if one side has none: `\pi/6 = 30`, in degrees."""
    if (PI in syntax.walk(left)) is not (PI in syntax.walk(right)):
        yield _in_degrees(left), _in_degrees(right)


def _in_degrees(tree: Tree) -> Tree:
    if tree == PI:
        return Number(HALF_TURN)
    match tree:
        case Negated(operand):
            return Negated(_in_degrees(operand))
        case Combined(operator, left, right):
            return Combined(operator, _in_degrees(left), _in_degrees(right))
        case _:
            return tree


def _is_rounded(side: Tree, exact: Fraction, rounded: Fraction) -> bool:
    """Return whether the side is one decimal that shows the other value, rounded."""
    number = syntax.signed_number(side)
    if number is None or number.decimals == 0:
        return False
    return abs(exact - rounded) <= number.last_digit / 2


def _is_closed_form(tree: Tree) -> bool:
    """Return whether there is more than the four operations: a root, pi, a function."""
    return PI in syntax.walk(tree) or not functions(tree) <= {"degrees"}


def _format(value: Real) -> str:
    number = values.midpoint(value)
    if number.denominator == 1 and abs(number) < MAX_SHOWN:
        return str(number)
    return f"{float(number):.6g}"
