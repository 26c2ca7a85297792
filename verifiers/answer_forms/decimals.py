"""Decimals as written: their last digit, and floats as programs print them.

A printed double has up to 17 significant digits, and fewer if the last ones are zeros. A decimal
with at least 12 is taken for one: it equals what it may be the double of.
"""

from dataclasses import dataclass
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.math.findings import Judgement
from verifiers.math.syntax import Combined, Negated, Number, Tree

DOUBLE_DIGITS = range(12, 18)
# The precision of a double is 2^-53; a result of a few operations may be off by some of these.
DOUBLE_PRECISION = Fraction(1, 2**50)
# A longer computation loses more digits. Its value is not called equal, and not different.
LOST_PRECISION = Fraction(1, 2**40)
NEARLY_EQUAL = "nearly equal"
MAX_EXPONENT = 400


@dataclass(frozen=True, slots=True)
class Literal:
    """A decimal as written: the value of one unit in its last place, and its number of digits."""

    last_digit: Fraction
    digits: int
    is_integer: bool


def literal(tree: Tree) -> Literal | None:
    r"""Return the decimal that a tree is, also with a power of ten behind it, or None."""
    while isinstance(tree, Negated):
        tree = tree.operand
    scale = Fraction(1)
    is_scaled = False
    if isinstance(tree, Combined) and tree.operator == "*":
        power = _power_of_ten(tree.right)
        if power is None:
            return None
        scale = power
        is_scaled = True
        tree = tree.left
        while isinstance(tree, Negated):
            tree = tree.operand
    if not isinstance(tree, Number) or (is_scaled and tree.decimals == 0):
        return None
    digits = len(str(abs(tree.value.numerator * 10**tree.decimals // tree.value.denominator)))
    return Literal(tree.last_digit * scale, digits, tree.decimals == 0)


def is_double(tree: Tree) -> bool:
    """Return whether the tree is a decimal with as many digits as a printed double."""
    decimal = literal(tree)
    return decimal is not None and not decimal.is_integer and decimal.digits in DOUBLE_DIGITS


def near(left: Fraction, right: Fraction) -> Judgement | None:
    """Compare two values of which one is a printed double; None if they differ by more."""
    distance = abs(left - right)
    size = max(abs(left), abs(right))
    if distance <= size * DOUBLE_PRECISION:
        return Verdict.CORRECT, "equal within the precision of a double"
    if distance <= size * LOST_PRECISION:
        return Verdict.UNKNOWN, NEARLY_EQUAL
    # A computation whose result is zero prints 5.551115123125783e-17.
    if 0 in (left, right) and distance <= LOST_PRECISION:
        return Verdict.UNKNOWN, NEARLY_EQUAL
    return None


def _power_of_ten(tree: Tree) -> Fraction | None:
    if not isinstance(tree, Combined) or tree.operator != "^" or tree.left != Number(Fraction(10)):
        return None
    exponent = tree.right
    sign = 1
    if isinstance(exponent, Negated):
        sign = -1
        exponent = exponent.operand
    if not isinstance(exponent, Number) or exponent.value.denominator != 1:
        return None
    power = int(exponent.value)
    if abs(power) <= MAX_EXPONENT:
        return Fraction(10) ** (sign * power)
    return None
