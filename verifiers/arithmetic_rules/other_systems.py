"""Other arithmetic in which a false equation of whole numbers may be true.

- `7 + 1 = 10`: the numbers have another base.
- `9 + 5 = 2`, `1 + 1 = 0`: single digits are added or multiplied modulo a larger number.
- `1 + 1 = 1`: the numbers are truth values.
- `3 + 4 = 34`: the digits are written side by side.

The text need not name the system: in the measured sets, no true alarm was of these forms.
"""

from fractions import Fraction

from verifiers.math.exact import exact_value
from verifiers.math.syntax import Combined, Number, Tree, map_numbers, numbers

DECIMAL = 10
# Two fingers to twenty: the bases of puzzles and of computers.
BASES = (2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 20)
# The hours of a clock and the hexadecimal digits are the largest usual remainders.
MODULI = range(2, 17)


def may_be_other_arithmetic(left: Tree, right: Tree) -> bool:
    """Return whether an equation of whole numbers is true in another arithmetic."""
    for number in (*numbers(left), *numbers(right)):
        if number.value.denominator != 1 or number.decimals or number.percent:
            return False
    holds_in_base = any(_holds_in_base(left, right, base) for base in BASES)
    return holds_in_base or _holds_for_remainders(left, right) or _are_side_by_side(left, right)


def _holds_in_base(left: Tree, right: Tree, base: int) -> bool:
    digits = "".join([str(number.value) for number in (*numbers(left), *numbers(right))])
    if base <= int(max(digits)):
        return False

    def in_base(number: Number) -> Tree:
        return Number(_value_in_base(number.value, base))

    value = exact_value(map_numbers(left, in_base))
    return value is not None and value == exact_value(map_numbers(right, in_base))


def _value_in_base(number: Fraction, base: int) -> Fraction:
    value = 0
    for digit in str(number):
        value = value * base + int(digit)
    return Fraction(value)


def _holds_for_remainders(left: Tree, right: Tree) -> bool:
    if not (_is_operation(left) and isinstance(right, Number)):
        return False
    largest = max(number.value for number in (*numbers(left), right))
    value = exact_value(left)
    if value is None or largest >= DECIMAL:
        return False
    return largest <= 1 or any(m > largest and (value - right.value) % m == 0 for m in MODULI)


def _are_side_by_side(left: Tree, right: Tree) -> bool:
    if not (_is_operation(left) and isinstance(right, Number)):
        return False
    return "".join([str(number.value) for number in numbers(left)]) == str(right.value)


def _is_operation(tree: Tree) -> bool:
    """Return whether the tree is a sum, a difference or a product of two plain numbers."""
    return (
        isinstance(tree, Combined)
        and tree.operator in "+-*"
        and isinstance(tree.left, Number)
        and isinstance(tree.right, Number)
    )
