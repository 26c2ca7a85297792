"""Compare expressions at rational points, exactly or in intervals."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random

from verifiers.answer_forms.formulas import compare
from verifiers.math.syntax import (
    Call,
    I,
    Name,
    Number,
    Tree,
    UndefinedError,
    UnreadError,
    functions,
    map_calls,
    map_names,
    walk,
)
from verifiers.program_answers.commands import SUM, summation
from verifiers.program_answers.derivatives import UNKNOWN
from verifiers.program_answers.number_functions import number_tree
from verifiers.program_answers.whole_exponents import whole_exponents

Point = Mapping[str, Fraction]
POINTS = 18
MIN_POINTS = 3
# Functions whose arguments are natural numbers.
COUNTING = frozenset(["!", "binom", SUM])
# The number of points with small natural numbers, and where large numbers begin.
SPECIAL = 3
LARGE_POINTS = 14
LARGE = 150


def points(names: Sequence[str], *trees: Tree) -> Sequence[Point]:
    """Return points that depend only on the names: whole ones, small, mixed and large ones.

    All are natural numbers if a function counts. The first ones are differences of 0 or 1.
    """
    random = Random(" ".join(names))
    is_counting = any(functions(tree) & COUNTING for tree in trees)
    chosen = list[Point]()
    for number in range(POINTS):
        point = dict[str, Fraction]()
        for index, name in enumerate(names):
            point[name] = _coordinate(random, number, index, is_counting)
        chosen.append(point)
    return chosen


def whole_points(names: Sequence[str]) -> Sequence[Point]:
    """Return points of positive whole numbers."""
    random = Random(" ".join(names))
    chosen = list[Point]()
    for number in range(POINTS):
        point = dict[str, Fraction]()
        for index, name in enumerate(names):
            point[name] = _nearby(number, index)
            if number >= SPECIAL:
                point[name] = Fraction(random.randint(1, 30))
        chosen.append(point)
    return chosen


def _nearby(number: int, index: int) -> Fraction:
    """Return a small number. Differences of 0 and 1 have large powers."""
    return Fraction((number + index) % 2 + 1 + index // 2)


def _coordinate(random: Random, number: int, index: int, is_counting: bool) -> Fraction:
    if is_counting:
        return Fraction(random.randint(2, 12))
    if number < SPECIAL:
        return _nearby(number, index)
    if number < 6:
        return Fraction(random.randint(1_000, 9_999), random.randint(1_000, 3_000))
    # Every combination of the signs of the first three names.
    sign = -1 if (number - 6) >> (index % 3) & 1 else 1
    if number < LARGE_POINTS:
        size = Fraction(random.randint(100, 9_999), random.randint(1_000, 3_000))
        if number % 4 < 2:
            return sign * size
        return sign * size / 16
    return Fraction(random.randint(LARGE, 2 * LARGE)) * sign


def closed(tree: Tree, point: Point) -> Tree:
    """Return the tree with the values of a point, in which sums are written out."""

    def change_name(name: Name) -> Tree:
        value = point.get(name.text)
        if value is None:
            return name
        return number_tree(value)

    def change_call(call: Call) -> Tree:
        if call.function == SUM:
            return summation(*call.arguments)
        return call

    return map_calls(map_names(tree, change_name), change_call)


def has_unknown_function(*trees: Tree) -> bool:
    """Return whether an unknown function is applied."""
    for tree in trees:
        if any(name.startswith(UNKNOWN) for name in functions(tree)):
            return True
    return False


def equal_at(left: Tree, right: Tree, point: Point) -> bool | None:
    """Return whether two expressions are equal at a point; None if that is not decided."""
    is_complex = I in list(walk(left)) or I in list(walk(right))
    try:
        if functions(left) & {SUM} or functions(right) & {SUM}:
            left = closed(left, point)
            right = closed(right, point)
        return compare(left, right, point, real=not is_complex).equal
    except (UndefinedError, UnreadError, ArithmeticError, KeyError):
        return None


def has_value(tree: Tree, point: Point) -> bool | None:
    """Return whether an expression has a value at a point; None if it cannot be computed."""
    is_complex = I in list(walk(tree))
    try:
        closed_tree = closed(tree, point) if SUM in functions(tree) else tree
        compare(closed_tree, closed_tree, point, real=not is_complex)
    except UndefinedError:
        return False
    except (UnreadError, ArithmeticError, KeyError):
        return None
    return True


def agree(left: Tree, right: Tree, names: Sequence[str]) -> bool:
    """Return whether two expressions are equal at some points and have the same domain there.

    Names such as `n` have whole values if they are in exponents only.
    """
    equal = 0
    whole = whole_exponents(left, right)
    for number, point in enumerate(points(names, left, right)):
        point = {**point, **dict.fromkeys(whole, Fraction(number % 5 + 1))}
        result = equal_at(left, right, point)
        if result is True:
            equal += 1
            continue
        if result is False or {has_value(left, point), has_value(right, point)} == {True, False}:
            return False
    return equal >= (2 if names else 1)


def differ(left: Tree, right: Tree, names: Sequence[str]) -> bool:
    """Return whether two expressions have different values wherever both could be computed."""
    equal = 0
    different = 0
    zero = Number(Fraction(0))
    is_counting = bool((functions(left) | functions(right)) & COUNTING)
    for number, point in enumerate(points(names, left, right)):
        result = equal_at(left, right, point)
        different += result is False
        if result is not True or (names and number < SPECIAL):
            # At the first points, different formulas are equal by accident.
            continue
        # Binomial coefficients are zero out of range.
        equal += not is_counting or equal_at(left, zero, point) is False
    accidents = different // 2 if is_counting else 0
    return equal <= accidents and different >= (MIN_POINTS if names else 1)
