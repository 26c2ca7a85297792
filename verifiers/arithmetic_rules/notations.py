"""Other notations in which the sides of a false equation may be true.

- `2.500 + 500 = 3.000`: dots group the digits, as commas do elsewhere; `1,500` may be 1.5.
- `100,105 = 100 + 5`: the comma separates two items of a list.
- `6 ÷ 1/8 = 48`, `85/40*45`: all that follows a division sign is the divisor.
- `720*4 = 2880120*6*4`: the result and the next number are run together.
- `√9/16 = 3/4`, `√100 - 64 = 6`: the root reaches to the end of the side.
- `3√8 = 2`: the number before the root is its degree.
- `2 + 3! = 8!`: the last sign ends the sentence.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from verifiers.math.exact import exact_value
from verifiers.math.syntax import Call, Combined, Negated, Number, Tree, map_numbers, numbers

Sides = tuple[Tree, Tree]
THOUSAND = 1000
GROUP_DIGITS = 3


def other_notations(left: Tree, right: Tree) -> Iterator[Sides]:
    """Yield the sides in every other notation that the text allows."""
    for change in (_with_grouping_dots, _with_decimal_commas):
        changed = map_numbers(left, change), map_numbers(right, change)
        if changed != (left, right):
            yield changed
    yield from _without_list_items(left, right)
    divided = _with_long_divisors(left), _with_long_divisors(right)
    if divided != (left, right):
        yield divided
        yield divided[0], right
        yield left, divided[1]
    yield from _with_other_roots(left, right)
    if isinstance(right, Call) and right.function == "!":
        yield left, right.arguments[0]
    value = exact_value(left)
    if value is not None and _are_run_together(value, right):
        yield left, Number(value)


def _are_run_together(value: Fraction, right: Tree) -> bool:
    """Return whether the first number of the right side begins with the digits of a value."""
    digits = str(value)
    if not numbers(right) or len(digits) == 1:
        return False
    first = numbers(right)[0].value
    return first != value and str(first).startswith(digits)


def _with_other_roots(left: Tree, right: Tree) -> Iterator[Sides]:
    """Yield the sides with longer roots, and with numbers before roots as their degrees."""
    radicand = _long_radicand(left)
    if radicand is not None:
        yield Call("root", (radicand,)), right
    match left:
        case Combined("*", Number() as degree, Call("root", (radicand,))):
            yield Call("root", (radicand, degree)), right


def _long_radicand(tree: Tree) -> Tree | None:
    """Return the tree without the square root of a number with which it begins, if it does."""
    match tree:
        case Combined("+" | "-" | "*" | "/" | "^", Call("root", (Number() as number,)), right):
            return Combined(tree.operator, number, right)
        case Combined(operator, left, right):
            inner = _long_radicand(left)
            return None if inner is None else Combined(operator, inner, right)
    return None


def _with_grouping_dots(number: Number) -> Number:
    if number.decimals != GROUP_DIGITS or not 1 <= number.value < THOUSAND:
        return number
    return replace(number, value=number.value * THOUSAND, decimals=0)


def _with_decimal_commas(number: Number) -> Number:
    if not number.has_commas or number.decimals > 0:
        return number
    return replace(number, value=number.value / THOUSAND, decimals=GROUP_DIGITS)


def _without_list_items(left: Tree, right: Tree) -> Iterator[Sides]:
    """Yield the sides without the items of a list before or after the equation."""
    first = numbers(left)[:1]
    last = numbers(right)[-1:]
    if first and first[0].has_commas:
        item = Number(first[0].value % THOUSAND)
        yield map_numbers(left, lambda number: item if number is first[0] else number), right
    if last and last[0].has_commas:
        whole = Number(Fraction(last[0].value // THOUSAND))
        yield left, map_numbers(right, lambda number: whole if number is last[0] else number)


def _with_long_divisors(tree: Tree) -> Tree:
    """Return the tree with `a / b * c` read as `a / (b * c)`, and `a / b / c` as `a / (b / c)`."""
    match tree:
        case Combined("*", Combined("*", _, _) as product, factor):
            dividend = _with_long_divisors(product)
            if isinstance(dividend, Combined) and dividend.operator == "/":
                divisor = Combined("*", dividend.right, _with_long_divisors(factor))
                return Combined("/", dividend.left, divisor)
            return Combined("*", dividend, _with_long_divisors(factor))
        case Combined(("*" | "/") as operator, Combined("/", dividend, divisor), factor):
            inner = Combined(operator, _with_long_divisors(divisor), _with_long_divisors(factor))
            return Combined("/", _with_long_divisors(dividend), inner)
        case Combined(operator, left, right):
            return Combined(operator, _with_long_divisors(left), _with_long_divisors(right))
        case Negated(operand):
            return Negated(_with_long_divisors(operand))
        case Call(function, arguments):
            changed = [_with_long_divisors(argument) for argument in arguments]
            return Call(function, tuple(changed))
        case _:
            return tree
