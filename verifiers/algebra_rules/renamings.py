"""Compare two consecutive values of one name: `S = 9 · 6`, and then `S = 45`.

Of two numbers, the first must contain more arithmetic than the second: the second is its result.
A number that is 60 or 100 times the other may be the same in another unit.

What is not covered: names whose value changes (running totals, a product that is computed factor
by factor), values in different units.
"""

from collections.abc import Sequence
from fractions import Fraction

from verifiers.algebra_rules.identities import Equality, compare
from verifiers.algebra_rules.statements import Chain
from verifiers.algebra_rules.values import evaluate, midpoint
from verifiers.math.errors import UndefinedError
from verifiers.math.lexicon import FAMILIES, singular
from verifiers.math.syntax import (
    Call,
    Combined,
    Name,
    Negated,
    Number,
    Tree,
    has_decimals,
    names,
    numbers,
    walk,
)

# The relative error that decimals are allowed.
CLOSE = Fraction(1, 50)
# The relative error of a float.
EXACT = Fraction(1, 10**12)
# Factors between common units.
CONVERSIONS = frozenset(Fraction(factor) for factor in (12, 24, 60, 100, 1000, 3600))


def describe_same_name(before: Chain, after: Chain) -> bool:
    """Return whether both chains state a value of the same name."""
    name = before.sides[0].tree
    if not isinstance(name, Name) or name != after.sides[0].tree:
        return False
    return {*before.relations, after.relations[0]} == {"="}


def why_contradictory(before: Chain, after: Chain, *, is_restated: bool) -> str:
    """Return why the second chain contradicts the first, or an empty string.

    `is_restated` means that the words between them announce a rewriting.
    """
    first = before.sides[-1].tree
    second = after.sides[1].tree
    if first is None or second is None or names(first) != names(second):
        return ""
    if names(first):
        if not is_restated or has_decimals(first, second):
            return ""
        equality = compare(first, second).equality
        is_false = equality in (Equality.NEVER, Equality.NEVER_SEEN)
    else:
        is_result = _operations(first) > _operations(second)
        # `9 apples` after `9 apples + 4 apples` is a part of it.
        is_part = before.sides[-1].text.startswith(f"{after.sides[1].text} ")
        is_comparable = is_result and not is_part and not converts_unit(before, after)
        is_false = is_comparable and _differ(first, second)
    return f"it was {before.sides[-1].text}" if is_false else ""


def converts_unit(before: Chain, after: Chain) -> bool:
    """Return whether the second chain has another unit: `60x = 1 hour`, `x = 1 minute`."""
    unit = _unit(after.after)
    return unit in FAMILIES and unit != _unit(before.after)


def _differ(first: Tree, second: Tree) -> bool:
    try:
        a = midpoint(evaluate(first, {}))
        b = midpoint(evaluate(second, {}))
    except UndefinedError:
        return False
    is_rounded = has_decimals(first, second) or a.denominator != 1
    tolerance = CLOSE if is_rounded else EXACT
    if abs(a - b) <= tolerance * max(abs(a), abs(b)):
        return False
    # The second may continue from the first: `left = 50 - 10`, `left = 40 - 5`.
    is_calculation = not isinstance(second, Number | Negated)
    if is_calculation and [number.value for number in numbers(second)[:1]] == [a]:
        return False
    if a == 0 or b == 0:
        return True
    return CONVERSIONS.isdisjoint((abs(a / b), abs(b / a)))


def _unit(words: Sequence[str]) -> str:
    return singular(words[0]) if words else ""


def _operations(tree: Tree) -> int:
    return sum(isinstance(part, Combined | Call) for part in walk(tree))
