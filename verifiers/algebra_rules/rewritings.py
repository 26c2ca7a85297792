"""Judge an equation between formulas with variables: a rewriting, or a condition.

A rewriting is true or false for all values; a condition such as `x² + 2x = 7` restricts them. An
equation is false if it has no solution at all, or if it is clearly a rewriting and fails at every
sample point and under every condition on its variables. It is clearly a rewriting if both sides
have the same variables and much in common, and if it is not the first link of a chain
(`a = b = c`) or is announced as an expansion, a factoring or a simplification.
"""

import re
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.algebra_rules import ratios
from verifiers.algebra_rules.contexts import Condition, Context
from verifiers.algebra_rules.identities import Equality, Relation, compare
from verifiers.algebra_rules.statements import Link
from verifiers.math.findings import Judgement
from verifiers.math.syntax import Call, Tree, has_decimals, names

# Beginnings of words that announce a rewriting, and of words that announce an equation.
REWRITING = re.compile("factor|expand|simplif|rewrit|distribut|rationaliz|combin|multiply out")
EQUATION = re.compile(
    "equation|side|becomes|substitut|solve|solving|equal|equat|set|given|condition|need|want|must"
)
# How many words before a chain may announce it.
WORDS_BEFORE = 14
# The share of common terms or factors of two sides that are one formula.
ALIKE = Fraction(1, 2)
# With several variables, one may replace another by a condition that is stated in words only.
ALIKE_IN_ONE_VARIABLE = Fraction(1, 4)
CONDITION = "a condition on variables"
SUPPOSED = "it may be tried or denied"


def judge_rewriting(link: Link, left: Tree, right: Tree, context: Context) -> Judgement:
    """Return the verdict and the reason."""
    relation = compare(left, right)
    if relation.equality is Equality.ALWAYS:
        return Verdict.CORRECT, ""
    if has_decimals(left, right):
        return Verdict.UNKNOWN, "decimals may be rounded"
    if relation.equality is Equality.NEVER or _have_different_radicands(left, right):
        doubt = SUPPOSED if context.is_supposed else ""
    elif relation.equality is Equality.NEVER_SEEN:
        doubt = _doubt(link, (left, right), relation, context)
    else:
        doubt = CONDITION
    if doubt:
        return Verdict.UNKNOWN, doubt
    return Verdict.INCORRECT, f"the sides differ, as at {relation.counterexample}"


def _have_different_radicands(left: Tree, right: Tree) -> bool:
    match left, right:
        case Call("root", (first, *degree)), Call("root", (second, *other)) if degree == other:
            return compare(first, second).equality is Equality.NEVER
        case _:
            return False


def _doubt(link: Link, sides: tuple[Tree, Tree], relation: Relation, context: Context) -> str:
    """Return why an equation that fails at every sample point may hold, or an empty string."""
    if names(sides[0]) != names(sides[1]) or relation.left is None:
        return CONDITION
    if context.is_supposed:
        return SUPPOSED
    if link.index == 0:
        is_rewriting = _is_announced(link, relation)
    else:
        is_rewriting = _look_alike(relation)
    if not is_rewriting:
        return CONDITION
    for condition in context.conditions:
        if _restricts(condition, sides):
            return "a condition may make it true"
    return ""


def _is_announced(link: Link, relation: Relation) -> bool:
    """Return whether the words before a chain announce a rewriting and no equation."""
    text = " ".join(link.before[-WORDS_BEFORE:])
    if not REWRITING.search(text) or EQUATION.search(text):
        return False
    return ratios.shared_terms(relation.left, relation.right) >= ALIKE


def _look_alike(relation: Relation) -> bool:
    """Return whether the sides share terms or factors, or are multiples of one term."""
    left = relation.left
    right = relation.right
    if len(left) == 1 and len(right) == 1:
        return bool(left.monoms() == right.monoms())
    enough = ALIKE_IN_ONE_VARIABLE if ratios.is_univariate(left - right) else ALIKE
    return ratios.shared_terms(left, right) >= enough or ratios.shared_factor(left, right) > ALIKE


def _restricts(condition: Condition, sides: tuple[Tree, Tree]) -> bool:
    """Return whether a condition restricts the variables so that the sides may be equal."""
    if not condition.names <= names(sides[0]):
        return False
    if {condition.left, condition.right} == set(sides):
        return False
    if compare(condition.left, condition.right).equality is Equality.ALWAYS:
        return False
    fractions = ratios.ratios(condition.left, condition.right, *sides)
    if fractions is None:
        return True
    restriction = ratios.difference(fractions[0], fractions[1])
    if restriction.is_ground:
        return False
    remainder = ratios.difference(fractions[2], fractions[3])
    if not (ratios.is_univariate(restriction) and ratios.is_univariate(remainder)):
        return True
    # Common roots make the equation true, except where a side is not defined.
    return not ratios.vanishes_only_at_poles(restriction.gcd(remainder), fractions[2], fractions[3])
