r"""Finite sums and products: `\sum_{k=1}^{5} k^2`, and those with dots, `1 + 2 + \cdots + 100`.

A series is a call of `sum` or `product` with four arguments: the index, the first and the last
value of it, and the term. The index is a constant with a name of its own, so that it is no variable
of the formula.

The terms before and after the dots show how a series continues. It is read only if they show one
way:

- they have the same form, and each number in it changes by equal steps: `1·2 + 2·3 + … + 9·10`;
- they are consecutive powers of one base, or have a common ratio: `1 + x + x^2 + … + x^n`;
- they are squares or cubes of consecutive numbers: `1 + 4 + 9 + … + 100`.

What is not covered: changing signs, recurrences, indices of names.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from verifiers.math.exact import exact_value, rational_root
from verifiers.math.syntax import (
    Call,
    Combined,
    Constant,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    map_names,
    names,
    signed_number,
)

SUM = "sum"
PRODUCT = "product"
SERIES = frozenset([SUM, PRODUCT])
# Two terms before the dots are the fewest that show how a series continues.
MIN_SHOWN = 2
# Squares and cubes need more of them.
MIN_POWERS = 3
# The longest series that is continued by a common ratio.
MAX_RATIO_TERMS = 200
ONE = Number(Fraction(1))
# The index of a series with dots, while its term is built. No text has this name.
INDEX = Name("#")
# Formulas are compared where the first name has one of these values. The next names differ.
SAMPLES = (Fraction(11), Fraction(17), Fraction(26))
NAME_STEP = 5


def series(function: str, index: Name, bounds: tuple[Tree, Tree], term: Tree) -> Tree:
    """Return the series of a term in which the index is still a name."""
    constant = Constant(f"#{index.text}")
    bound_term = map_names(term, lambda name: constant if name == index else name)
    return Call(function, (constant, *bounds, bound_term))


def continued_series(function: str, before: Sequence[Tree], after: Sequence[Tree]) -> Tree:
    """Return the series with these terms before and after the dots.

    Raises UnreadError if they show no way, or several ways, to continue.
    """
    if len(before) < MIN_SHOWN or not after:
        raise UnreadError("too few terms around the dots")
    readings = list[tuple[Tree, Tree]]()
    for read in (_of_one_form, _of_powers, _of_ratio, _of_power_values):
        try:
            count, term = read(before, after[-1])
        except UnreadError:
            continue
        is_new = not any(_are_equal(count, other) for other, _ in readings)
        if is_new and _fits(count, term, before, after):
            readings.append((count, term))
    if len(readings) != 1:
        raise UnreadError("the dots have no meaning, or several")
    count, term = readings[0]
    return series(function, INDEX, (ONE, count), term)


def _fits(count: Tree, term: Tree, before: Sequence[Tree], after: Sequence[Tree]) -> bool:
    """Return whether a term gives those around the dots, and the dots replace at least one."""
    if not names(count):
        number = exact_value(count)
        if number is None or number.denominator != 1 or number <= len(before) + len(after):
            return False
    for position, shown_term in enumerate(before, start=1):
        if not _are_equal(_at(term, Number(Fraction(position))), shown_term):
            return False
    for position, shown_term in enumerate(reversed(after)):
        index = Combined("-", count, Number(Fraction(position)))
        if not _are_equal(_at(term, index), shown_term):
            return False
    return True


def _of_one_form(before: Sequence[Tree], last: Tree) -> tuple[Tree, Tree]:
    """Return the number of terms, and the term, if all terms have the same form."""
    counts = list[Tree]()
    term = _template(before, last, counts)
    if not counts or not all(_are_equal(counts[0], count) for count in counts[1:]):
        raise UnreadError("the terms do not belong together")
    return counts[0], term


def _template(before: Sequence[Tree], last: Tree, counts: list[Tree]) -> Tree:
    """Return the term, and add the number of terms that each changing number shows."""
    first = before[0]
    if all(tree == first for tree in (*before, last)):
        return first
    if all(signed_number(tree) is not None for tree in before):
        start, step = _progression(before)
        counts.append(_position(last, start, step))
        return _linear(start, step)
    shapes = {_shape(tree) for tree in (*before, last)}
    if len(shapes) > 1:
        raise UnreadError("the terms have different forms")
    children = list[Tree]()
    for index, last_child in enumerate(_children(last)):
        column = [_children(tree)[index] for tree in before]
        children.append(_template(column, last_child, counts))
    return _rebuilt(first, children)


def _of_powers(before: Sequence[Tree], last: Tree) -> tuple[Tree, Tree]:
    """Return the same for powers of one base: `1 + x + x^2 + … + x^n`."""
    match last:
        case Combined("^", base, exponent):
            exponents = [_exponent(tree, base) for tree in before]
            start, step = _progression(exponents)
            return _position(exponent, start, step), Combined("^", base, _linear(start, step))
    raise UnreadError("no power")


def _exponent(tree: Tree, base: Tree) -> Tree:
    match tree:
        case Number(value) if value == 1:
            return Number(Fraction(0))
        case Combined("^", other, exponent) if other == base:
            return exponent
        case _ if tree == base:
            return ONE
        case Number(value) if isinstance(base, Number) and base.value > 1:
            power = 0
            while base.value**power < value:
                power += 1
            if base.value**power == value:
                return Number(Fraction(power))
    raise UnreadError("no power of the base")


def _of_ratio(before: Sequence[Tree], last: Tree) -> tuple[Tree, Tree]:
    """Return the same for numbers with a common ratio: `1 + 2 + 4 + … + 64`."""
    values = [_value(tree) for tree in before]
    end = _value(last)
    if 0 in values:
        raise UnreadError("no ratio")
    ratio = values[1] / values[0]
    if abs(ratio) == 1 or any(after != ratio * value for value, after in pairwise(values)):
        raise UnreadError("no ratio")
    value = values[0]
    count = 1
    while value != end:
        value *= ratio
        count += 1
        if count > MAX_RATIO_TERMS:
            raise UnreadError("no power of the ratio")
    power = Combined("^", Number(ratio), Combined("-", INDEX, ONE))
    return Number(Fraction(count)), Combined("*", Number(values[0]), power)


def _of_power_values(before: Sequence[Tree], last: Tree) -> tuple[Tree, Tree]:
    """Return the same for squares and cubes that are written as numbers."""
    if len(before) < MIN_POWERS:
        raise UnreadError("too few terms")
    for exponent in (2, 3):
        roots = [rational_root(_value(tree), exponent) for tree in (*before, last)]
        numbers = [Number(root) for root in roots if root is not None]
        if len(numbers) == len(roots):
            start, step = _progression(numbers[:-1])
            term = Combined("^", _linear(start, step), Number(Fraction(exponent)))
            return _position(numbers[-1], start, step), term
    raise UnreadError("no powers")


def _progression(trees: Sequence[Tree]) -> tuple[Fraction, Fraction]:
    """Return the first number and the step of an arithmetic progression. Raises UnreadError."""
    values = list[Fraction]()
    for tree in trees:
        number = signed_number(tree)
        if number is None or number.decimals > 0:
            raise UnreadError("no whole number")
        values.append(_value(tree))
    step = values[1] - values[0]
    if step == 0 or any(after - value != step for value, after in pairwise(values)):
        raise UnreadError("no equal steps")
    return values[0], step


def _position(last: Tree, start: Fraction, step: Fraction) -> Tree:
    """Return the position of a number in a progression, counted from 1."""
    distance = Combined("-", last, Number(start))
    return Combined("+", Combined("/", distance, Number(step)), ONE)


def _linear(start: Fraction, step: Fraction) -> Tree:
    """Return the number at the index of a progression."""
    steps = Combined("-", INDEX, ONE)
    return Combined("+", Number(start), Combined("*", Number(step), steps))


def _at(term: Tree, index: Tree) -> Tree:
    return map_names(term, lambda name: index if name == INDEX else name)


def _are_equal(first: Tree, second: Tree) -> bool:
    """Return whether two formulas are equal at the samples; functions need equal arguments."""
    if first == second:
        return True
    variables = sorted(names(first) | names(second))
    for sample in SAMPLES:
        numbers = dict[str, Tree]()
        for position, name in enumerate(variables):
            numbers[name] = Number(sample + NAME_STEP * position)
        value = exact_value(_with_numbers(first, numbers))
        other = exact_value(_with_numbers(second, numbers))
        if value is None or other is None:
            return _have_equal_parts(first, second)
        if value != other:
            return False
    return True


def _with_numbers(tree: Tree, numbers: Mapping[str, Tree]) -> Tree:
    return map_names(tree, lambda name: numbers[name.text])


def _have_equal_parts(first: Tree, second: Tree) -> bool:
    try:
        if _shape(first) != _shape(second):
            return False
    except UnreadError:
        return False
    parts = zip(_children(first), _children(second), strict=True)
    return all(_are_equal(part, other) for part, other in parts)


def _value(tree: Tree) -> Fraction:
    value = None if names(tree) else exact_value(tree)
    if value is None:
        raise UnreadError("no number")
    return value


def _shape(tree: Tree) -> tuple[str, int]:
    """Return the operation of a tree and the number of its operands. Raises UnreadError."""
    match tree:
        case Combined(operator, _, _):
            return operator, 2
        case Call(function, arguments):
            return function, len(arguments)
        case Negated():
            return "negated", 1
    raise UnreadError("no operation")


def _children(tree: Tree) -> Sequence[Tree]:
    match tree:
        case Combined(_, left, right):
            return (left, right)
        case Call(_, arguments):
            return arguments
        case Negated(operand):
            return (operand,)
    return ()


def _rebuilt(tree: Tree, children: Sequence[Tree]) -> Tree:
    """Return the tree with other children."""
    match tree:
        case Combined(operator, _, _):
            return Combined(operator, children[0], children[1])
        case Call(function, _):
            return Call(function, tuple(children))
    return Negated(children[0])
