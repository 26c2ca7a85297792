"""Reasons why an equation whose numbers disagree may be right: units, percent signs, long chains.

What is not covered: conversions between units that are not in the lexicon; only the names of their
units distinguish the sides.
"""

from collections.abc import Iterator

from verifiers.arithmetic_rules.equations import Equation
from verifiers.math.exact import exact_value
from verifiers.math.lexicon import FAMILIES
from verifiers.math.syntax import Combined, Tree, numbers, signed_number, walk

COMPARING = frozenset(["more", "less", "fewer"])


def doubt_of(equation: Equation, left: Tree, right: Tree) -> str:
    """Return why an equation whose numbers disagree may not be false, or an empty string."""
    if signed_number(left) is not None and signed_number(right) is not None:
        return "two numbers, no arithmetic"
    if mixes_percentages(left) or mixes_percentages(right):
        return "a percentage is added to a number"
    if _is_percentage_of(left, right) or _is_percentage_of(right, left):
        return "a percentage of something"
    value = exact_value(left)
    opposite = exact_value(right)
    if value == -(opposite or 0) and not COMPARING.isdisjoint(equation.text.split()):
        return "a difference without its sign"
    # `2 + 3 = 5 + 4 = 9`: the result is carried on.
    if equation.continues and numbers(right)[0].value == value:
        return "a running calculation"
    return _doubt_about_units(left, right)


def is_trivial(left: Tree, right: Tree) -> bool:
    """Return whether the sides are two plain numbers: `5 = 5`, `1 hour = 1 minute`."""
    for side in (left, right):
        number = signed_number(side)
        if number is None or number.percent:
            return False
    return True


def mixes_percentages(tree: Tree) -> bool:
    """Return whether a percentage and a plain number are added, as in `$100 - 20%`."""
    for term in _sums(tree):
        if _is_percentage(term.left) is not _is_percentage(term.right):
            return True
    return False


def has_percent_sign(tree: Tree) -> bool:
    """Return whether a number has a percent sign."""
    return any(number.percent for number in numbers(tree))


def units_of(tree: Tree) -> set[str]:
    """Return the words of all units."""
    units = set[str]()
    for number in numbers(tree):
        units.update(number.unit)
    return units


def _doubt_about_units(left: Tree, right: Tree) -> str:
    left_units = units_of(left)
    right_units = units_of(right)
    families = [FAMILIES[unit] for unit in left_units | right_units if unit in FAMILIES]
    if len(families) > len(set(families)):
        return "units that convert into one another"
    if _adds_different_units(left) or _adds_different_units(right):
        return "different units are added"
    if left_units and right_units and left_units.isdisjoint(right_units):
        return "the sides have different units"
    return ""


def _is_percentage_of(result: Tree, side: Tree) -> bool:
    return signed_number(result) is not None and not _is_percentage(result) and _is_percentage(side)


def _is_percentage(tree: Tree) -> bool:
    return all(number.percent for number in numbers(tree))


def _adds_different_units(tree: Tree) -> bool:
    """Return whether two terms of a sum have units without a common word."""
    for term in _sums(tree):
        left = units_of(term.left)
        right = units_of(term.right)
        if left and right and left.isdisjoint(right):
            return True
    return False


def _sums(tree: Tree) -> Iterator[Combined]:
    for part in walk(tree):
        if isinstance(part, Combined) and part.operator in "+-":
            yield part
