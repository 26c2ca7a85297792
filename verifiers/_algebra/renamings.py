"""Two values of one name in a row: `S = 9 · 6`, and then `S = 45`.

Of numbers, the first still has arithmetic to do and the second has less. Nothing but words of rewriting stands between them. A number
that is 60 or 100 times the other may be the same in another unit.

What is not covered: names whose value changes (running totals, a product worked out factor by factor), values in different units.
"""

from collections.abc import Sequence
from fractions import Fraction

from verifiers._algebra.closed_forms import has_decimals
from verifiers._algebra.formulas import Call, Joined, Minus, Name, Number, Tree, names, parts
from verifiers._algebra.identities import Equality, compare
from verifiers._algebra.statements import Chain
from verifiers._algebra.values import UndefinedError, evaluate, midpoint
from verifiers.math.lexicon import FAMILIES, singular

__all__ = ["CLOSE", "are_named_alike", "other_unit", "renamed"]

CLOSE = Fraction(1, 50)
"""Relative error that decimals are granted."""
EXACT = Fraction(1, 10**12)
CONVERSIONS = frozenset(map(Fraction, (12, 24, 60, 100, 1000, 3600)))


def are_named_alike(before: Chain, after: Chain) -> bool:
    """Whether both chains say what one name is."""
    name = before.sides[0].tree
    return isinstance(name, Name) and name == after.sides[0].tree and {*before.relations, after.relations[0]} == {"="}


def renamed(before: Chain, after: Chain, *, restated: bool) -> str:
    """Why the second chain contradicts the first; empty when it need not. `restated`: the words between say that it is the same."""
    first, second = before.sides[-1].tree, after.sides[1].tree
    if first is None or second is None or names(first) != names(second):
        return ""
    if names(first):
        never = compare(first, second).equality in (Equality.NEVER, Equality.NEVER_SEEN)
        false = restated and never and not has_decimals(first, second)
    else:
        less = _work(first) > _work(second) and not before.sides[-1].text.startswith(f"{after.sides[1].text} ")
        false = less and not other_unit(before, after) and _differ(first, second)
    return f"it was {before.sides[-1].text}" if false else ""


def _differ(first: Tree, second: Tree) -> bool:
    try:
        a, b = midpoint(evaluate(first, {})), midpoint(evaluate(second, {}))
    except UndefinedError:
        return False
    may_round = has_decimals(first, second) or a.denominator != 1
    if abs(a - b) <= (CLOSE if may_round else EXACT) * max(abs(a), abs(b)) or _runs_on(second, a):
        return False
    return a == 0 or b == 0 or not {abs(a / b), abs(b / a)} & CONVERSIONS


def _runs_on(second: Tree, value: Fraction) -> bool:
    """Whether the second goes on from the first one's result: `left = 50 - 10`, `left = 40 - 5`."""
    numbers = [part.value for part in parts(second) if isinstance(part, Number)]
    return not isinstance(second, Number | Minus) and numbers[:1] == [value]


def other_unit(before: Chain, after: Chain) -> bool:
    """Whether the second chain ends with a unit of its own, as in `60x = 1 hour` and `x = 1 minute`."""
    of_first, of_second = _unit(before.after), _unit(after.after)
    return of_first != of_second and of_second in FAMILIES


def _unit(words: Sequence[str]) -> str:
    return singular(words[0]) if words else ""


def _work(tree: Tree) -> int:
    """How many operations it takes."""
    return sum(isinstance(part, Joined | Call) for part in parts(tree))
