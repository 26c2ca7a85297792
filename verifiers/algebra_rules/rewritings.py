"""Judge an equation between formulas with variables: a rewriting, or a condition.

A rewriting is true or false for all values; a condition such as `x² + 2x = 7` restricts them. An
equation is false if it has no solution at all, or if it is clearly a rewriting and fails at every
sample point and under every condition on its variables. It is clearly a rewriting if both sides
have the same variables and much in common, and if it is announced as an expansion, a factoring or
a simplification, or if it is not the first link of a chain (`a = b = c`) and its sides differ in a
single term.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from verifiers.algebra_rules import ratios
from verifiers.algebra_rules.applications import applied_letters
from verifiers.algebra_rules.contexts import Condition, Context
from verifiers.algebra_rules.finite_sums import all_terms_of
from verifiers.algebra_rules.identities import Equality, Relation, compare
from verifiers.algebra_rules.statements import Link
from verifiers.arithmetic_rules.equations import LETTER_MEANS_TIMES
from verifiers.math.exact import exact_value
from verifiers.math.findings import HOLDS, StepJudgement, false, undecided
from verifiers.math.syntax import (
    TRIGONOMETRIC,
    Call,
    Combined,
    Negated,
    Tree,
    has_decimals,
    names,
    terms,
    walk,
)

# Beginnings of words that announce a rewriting, and of words that announce an equation.
REWRITING = re.compile("factor|expand|simplif|rewrit|distribut|rationaliz|combin|multiply out")
# Words that announce one side, if the other side is still to expand, or to factor. An equation is
# simplified and rewritten as often as an expression.
EXPANDING = re.compile("expand|distribut|multiply out")
FACTORING = re.compile("factor")
EQUATION = re.compile(
    "equation|side|becomes|substitut|solve|solving|equal|equat|set|given|condition|need|want|must"
)
# How many words before a chain may announce it.
WORDS_BEFORE = 14
# In a chain that begins with a name, the share of common terms from which a link is suspected.
LOOSELY_ALIKE = Fraction(1, 4)
# The share of common terms from which the expansion of a product is suspected.
MAYBE_EXPANDED = Fraction(1, 3)
# The share of common terms or factors of two sides that are one formula.
ALIKE = Fraction(1, 2)
# With several variables, one may replace another by a condition that is stated in words only.
ALIKE_IN_ONE_VARIABLE = Fraction(1, 4)
# An equation between shorter sums is often a condition: `(x + 1)^2 = x^2 + 9`.
MIN_EXPANDED = 3
CONDITION = "a condition on variables"
RADICANDS = "radicands"
NO_SOLUTION = "no solution"
REWRITING_RULE = "rewriting"
# The assumptions.
ALL_POWERS = "no higher powers are left out"
NO_EQUATION = "an equation without solution is a rewriting"
NO_CONDITION = "no condition on the names makes it true"
UNANNOUNCED = "an equation that no word announces is a rewriting"


def judge_rewriting(link: Link, left: Tree, right: Tree, context: Context) -> StepJudgement:
    """Return the verdict and the reason."""
    relation = compare(left, right)
    if relation.equality is Equality.ALWAYS:
        return HOLDS
    if has_decimals(left, right):
        return undecided("decimals may be rounded")
    assumptions = (
        NO_EQUATION if _are_normal(left, right, relation) else "",
        ALL_POWERS if _is_truncated(relation) else "",
        LETTER_MEANS_TIMES if link.reads_letter_as_times else "",
        all_terms_of(left, right),
    )
    reason = f"the sides differ, as at {relation.counterexample}"
    if _have_different_radicands(left, right):
        return false(RADICANDS, reason, *assumptions)
    if relation.equality is Equality.NEVER:
        is_claimed = link.index > 0 or _has_announcing_words(link)
        doubt = "" if is_claimed or NO_EQUATION in assumptions else NO_EQUATION
        return false(NO_SOLUTION, reason, doubt, *assumptions)
    if relation.equality is not Equality.NEVER_SEEN:
        return undecided(CONDITION)
    is_rewriting = _is_rewriting(link, left, right, relation)
    if not is_rewriting and not _may_be_rewriting(link, left, right, relation):
        return undecided(CONDITION)
    # Words, such as "f is odd", may restrict a function as well.
    is_restricted = bool(applied_letters(left, right)) or any(
        _restricts(condition, (left, right)) for condition in context.conditions
    )
    is_doubtful = not is_rewriting or _may_be_equation_to_solve(link, left, right, relation)
    return false(
        REWRITING_RULE,
        reason,
        UNANNOUNCED if is_doubtful else "",
        NO_CONDITION if is_restricted else "",
        *assumptions,
    )


def _are_normal(left: Tree, right: Tree, relation: Relation) -> bool:
    """Return whether nothing can be expanded, collected or cancelled on either side.

    Then `x + 2 = x + 5` or `x^2 + 2x = x^2 + 6` is an equation and no rewriting. `2x = 3x` is one.
    """
    match left, right:
        case Call("root", (first, *_)), Call("root", (second, *_)):
            return is_normal(first) and is_normal(second)
    polynomials = (relation.left, relation.right)
    is_multiple = all(polynomial is not None and len(polynomial) == 1 for polynomial in polynomials)
    if is_multiple and relation.left.monoms() == relation.right.monoms():
        return False
    return is_normal(left) and is_normal(right)


def _is_truncated(relation: Relation) -> bool:
    """Return whether one side lacks only the highest powers of the other: `(1 + x)^3 = 1 + 3x`."""
    if not relation.left or not relation.right:
        return False
    missing = relation.left - relation.right
    lowest = min(map(sum, missing.itermonoms()))
    degrees = [max(map(sum, side.itermonoms())) for side in (relation.left, relation.right)]
    return 0 < min(degrees) < lowest


def is_normal(tree: Tree) -> bool:
    """Return whether the tree is a sum of different terms, or a fraction of two in lowest terms.

    Nothing in it can be expanded, collected, cancelled or evaluated.
    """
    match tree:
        case Combined("/", upper, lower) if names(lower):
            fractions = ratios.ratios(upper, lower)
            if fractions is None or not (is_normal(upper) and is_normal(lower)):
                return False
            return bool(fractions[0].numerator.gcd(fractions[1].numerator).is_ground)
        case _:
            fractions = ratios.ratios(tree)
            parts = list(terms(tree))
            if fractions is None or len(fractions[0].numerator) != len(parts):
                return False
            return not any(_contains_sum(term) or _can_be_evaluated(term) for term in parts)


def _contains_sum(term: Tree) -> bool:
    """Return whether a term has a sum outside functions and exponents."""
    match term:
        case Combined("^", base, _):
            return _contains_sum(base)
        case Combined("+" | "-"):
            return True
        case Combined(_, left, right):
            return _contains_sum(left) or _contains_sum(right)
        case Negated(operand):
            return _contains_sum(operand)
        case _:
            return False


def _can_be_evaluated(term: Tree) -> bool:
    """Return whether a part of a term is plain arithmetic or a sine: `2 * 3x`, `x cos 60°`."""
    for part in walk(term):
        match part:
            case Combined("*" | "^") if exact_value(part) is not None:
                return True
            case Call(function) if function in TRIGONOMETRIC and not names(part):
                return True
    return False


def condition_on(variables: frozenset[str], conditions: Iterable[Condition]) -> str:
    """Return the assumption that no condition restricts the names; empty if none does."""
    for condition in conditions:
        if not condition.names <= variables:
            continue
        if compare(condition.left, condition.right).equality is not Equality.ALWAYS:
            return NO_CONDITION
    return ""


def _have_different_radicands(left: Tree, right: Tree) -> bool:
    match left, right:
        case Call("root", (first, *degree)), Call("root", (second, *other)) if degree == other:
            return compare(first, second).equality is Equality.NEVER
        case _:
            return False


def _is_rewriting(link: Link, left: Tree, right: Tree, relation: Relation) -> bool:
    """Return whether an equation is meant to hold for all values of its names."""
    if names(left) != names(right) or relation.left is None:
        return False
    if link.index == 0:
        return _is_announced(link, relation)
    return _look_alike(relation)


def _may_be_rewriting(link: Link, left: Tree, right: Tree, relation: Relation) -> bool:
    """Return whether an equation that no word announces is probably a rewriting.

    Its left side is a product or a power of sums, and its right side is a longer sum with a third
    of the terms; or it continues a chain of values. `(x + 2)(x + 3) = x^2 + 4x + 10` may be an
    equation to solve: its sides differ in several terms, and in a constant or one name only.
    """
    if names(left) != names(right) or relation.left is None or relation.right is None:
        return False
    difference = relation.left - relation.right
    has_constant = any(not any(powers) for powers in difference)
    if len(difference) > 1 and (has_constant or len(names(left)) == 1):
        return False
    # `n = 10a + b = ab + a + b` is a condition: nothing on its sides is left to do.
    if _are_normal(left, right, relation):
        return False
    shared = ratios.shared_terms(relation.left, relation.right)
    if link.index > 0:
        return shared >= LOOSELY_ALIKE
    text = " ".join(link.before[-WORDS_BEFORE:])
    parts = list(terms(right))
    if EQUATION.search(text) or len(parts) < MIN_EXPANDED:
        return False
    is_expanded = _contains_sum(left) and not any(map(_contains_sum, parts))
    return is_expanded and shared >= MAYBE_EXPANDED


def _may_be_equation_to_solve(link: Link, left: Tree, right: Tree, relation: Relation) -> bool:
    """Return whether an equation that looks like a rewriting may be a condition on its names.

    In `A = (x + 2)(x + 3) = x^2 + 20`, the last side is another value of the area. A wrong
    expansion mostly differs from the right one in a single term, and words such as "expanding"
    announce it. "Expanding (x + 2)(x + 3) = x^2 + 20" without a comma is about an equation, and so
    may "simplifying, x(x + 2) = x^2 + 8" be. Two fractions that share most factors are one
    fraction, cancelled: such an equation is not solved.
    """
    if relation.left is None or relation.right is None:
        return True
    if len(relation.left - relation.right) == 1:
        return False
    are_fractions = _is_fraction(left) and _is_fraction(right)
    if are_fractions and ratios.shared_factor(relation.left, relation.right) > ALIKE:
        return False
    last = link.before[-1:]
    is_about_equation = bool(last) and REWRITING.match(last[0]) is not None
    return is_about_equation or not _is_expanded_or_factored(link, left, right)


def _is_expanded_or_factored(link: Link, left: Tree, right: Tree) -> bool:
    """Return whether the words before a chain announce what is done from left to right."""
    text = " ".join(link.before[-WORDS_BEFORE:])
    if EQUATION.search(text):
        return False
    is_expanded = EXPANDING.search(text) is not None and not is_normal(left)
    is_factored = FACTORING.search(text) is not None and not is_normal(right)
    return is_expanded or is_factored


def _is_fraction(tree: Tree) -> bool:
    """Return whether a tree is a fraction with names in its denominator."""
    match tree:
        case Combined("/", _, divisor):
            return bool(names(divisor))
        case _:
            return False


def _is_announced(link: Link, relation: Relation) -> bool:
    """Return whether the words before a chain announce a rewriting and no equation."""
    if not _has_announcing_words(link):
        return False
    return ratios.shared_terms(relation.left, relation.right) >= ALIKE


def _has_announcing_words(link: Link) -> bool:
    text = " ".join(link.before[-WORDS_BEFORE:])
    return REWRITING.search(text) is not None and EQUATION.search(text) is None


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
    if {condition.left, condition.right} == set(sides):
        return False
    if not condition.names <= names(sides[0]):
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
