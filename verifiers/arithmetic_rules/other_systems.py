"""Other arithmetic in which a false sum or product of two whole numbers may be true.

- `101 + 11 = 1000`, `7 + 1 = 10`: the numbers have another base.
- `9 + 5 = 2`, `1 + 1 = 0`: single digits are added or multiplied modulo a larger number.
- `1 + 1 = 1`: the numbers are truth values.
- `3 + 4 = 34`: the digits are written side by side.

The text need not name the system: in the measured sets, no true alarm has one of these forms.
Longer numbers in other bases are not covered, because ordinary mistakes look like them.
"""

from fractions import Fraction

from verifiers.math.exact import exact_value
from verifiers.math.syntax import Combined, Number, Tree, map_numbers, numbers

DECIMAL = 10
# The bases of computers.
BASES = (2, 8, 16)
# The hours of a clock and the hexadecimal digits are the largest usual remainders.
MODULI = range(2, 17)


def may_be_other_arithmetic(left: Tree, right: Tree) -> bool:
    """Return whether an equation of three whole numbers is true in another arithmetic."""
    if not (_is_operation(left) and isinstance(right, Number)):
        return False
    digits = ""
    for number in (*numbers(left), right):
        if number.value.denominator != 1 or number.decimals or number.percent:
            return False
        digits += str(number.value)
    value = exact_value(left)
    if value is None:
        return False
    largest = int(max(digits))
    if len(digits) == 3:
        remainders = [modulus for modulus in MODULI if modulus > largest]
        is_remainder = any((value - right.value) % modulus == 0 for modulus in remainders)
        return is_remainder or largest <= 1
    first, second = numbers(left)
    if max(first.value, second.value) >= DECIMAL and largest > 1:
        return False
    are_side_by_side = digits == 2 * str(right.value)
    return are_side_by_side or any(_holds_in_base(left, right, base) for base in BASES)


def _is_operation(tree: Tree) -> bool:
    """Return whether the tree is a sum, a difference or a product of two plain numbers."""
    return (
        isinstance(tree, Combined)
        and tree.operator in "+-*"
        and isinstance(tree.left, Number)
        and isinstance(tree.right, Number)
    )


def _holds_in_base(left: Tree, right: Tree, base: int) -> bool:
    def in_base(number: Number) -> Tree:
        value = 0
        for digit in str(number.value):
            value = value * base + int(digit)
        return Number(Fraction(value))

    return exact_value(map_numbers(left, in_base)) == exact_value(map_numbers(right, in_base))
