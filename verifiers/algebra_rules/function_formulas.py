"""Judge formulas that are said to be the value of a defined function at a formula.

If the question defines `f(x) = x^2 + 1`, then `f(x + 1) = x^2 + 2x + 2` is a rewriting: the
argument is put into the definition. Such an equation is false if the two formulas differ at all
sample points and have enough terms in common. Otherwise it may be a condition, such as
`f(a) = a + 3`.

What is not covered: functions that are defined by cases or have several variables, and names that
occur on one side only.
"""

from collections.abc import Iterator
from fractions import Fraction

from verifiers.algebra_rules import ratios
from verifiers.algebra_rules.applications import applied_letters, function_letter
from verifiers.algebra_rules.contexts import Condition, Context
from verifiers.algebra_rules.identities import Equality, compare
from verifiers.algebra_rules.rewritings import condition_on
from verifiers.algebra_rules.statements import Link
from verifiers.algebra_rules.substitutions import definitions, is_defined
from verifiers.math.findings import HOLDS, StepJudgement, false, undecided
from verifiers.math.lexicon import words
from verifiers.math.syntax import (
    MAYBE_CONSTANT,
    Name,
    Tree,
    UnreadError,
    has_decimals,
    map_names,
    names,
    walk,
)

FUNCTION_FORMULA = "function formula"
# The share of common terms of two formulas that are meant to be the same one.
ALIKE = Fraction(1, 3)
# Words that make the equation one to be solved.
ASKING = words("solve solving such satisfies satisfying equation when if find where for set")
WORDS_BEFORE = 8
# Nested applications could double the size of a formula again and again.
MAX_NODES = 512


def judge_function_formula(
    link: Link, left: Name, right: Tree, context: Context
) -> StepJudgement | None:
    """Judge `f(x + 1) = x^2 + 2x + 2`; None if the function or the right side is not known."""
    letter = function_letter(left)
    argument = left.argument
    body = _definition(letter, context)
    if body is None or argument is None or applied_letters(argument) - {letter}:
        return None
    if applied_letters(right) - {letter} or has_decimals(argument, right):
        return None
    variable, formula = body
    try:
        expected = _put_in(_apply(argument, letter, variable, formula), variable, formula)
        claimed = _apply(right, letter, variable, formula)
    except UnreadError:
        return None
    if not names(expected) or names(expected) != names(claimed) or names(expected) & MAYBE_CONSTANT:
        return None
    relation = compare(expected, claimed)
    if relation.equality is Equality.ALWAYS:
        return HOLDS
    if relation.equality not in (Equality.NEVER, Equality.NEVER_SEEN) or relation.left is None:
        return undecided("a condition on variables")
    is_asked = not ASKING.isdisjoint(link.before[-WORDS_BEFORE:])
    if is_asked or ratios.shared_terms(relation.left, relation.right) < ALIKE:
        return undecided("a condition on variables")
    reason = f"{letter}({variable}) is defined, and the sides differ, as at"
    return false(
        FUNCTION_FORMULA,
        f"{reason} {relation.counterexample}",
        condition_on(names(expected), _other_conditions(letter, context)),
        context.cases,
    )


def _definition(letter: str, context: Context) -> tuple[str, Tree] | None:
    """Return the variable and the formula of the one definition in the question."""
    stated = definitions(letter, context.question)
    if len(stated) != 1 or not is_defined(letter, context.question):
        return None
    variable, formula = stated.pop()
    if formula is None or names(formula) != {variable} or has_decimals(formula):
        return None
    for other_variable, other in definitions(letter, context.all_chains):
        if other is None:
            return None
        expected = _put_in(Name(other_variable), variable, formula)
        is_same = compare(expected, other).equality is Equality.ALWAYS
        # Another definition may replace that of the question.
        if names(other) == {other_variable} and not is_same:
            return None
    return variable, formula


def _put_in(argument: Tree, variable: str, formula: Tree) -> Tree:
    """Return a formula with the argument in place of the variable. Raises UnreadError."""
    tree = map_names(formula, lambda name: argument if name.text == variable else name)
    for count, _ in enumerate(walk(tree)):
        if count == MAX_NODES:
            raise UnreadError("a formula that is too long")
    return tree


def _apply(tree: Tree, letter: str, variable: str, formula: Tree) -> Tree:
    """Return the tree with the formula in place of every application. Raises UnreadError."""

    def replace(name: Name) -> Tree:
        if name.argument is None or function_letter(name) != letter:
            return name
        return _put_in(_apply(name.argument, letter, variable, formula), variable, formula)

    return map_names(tree, replace)


def _other_conditions(letter: str, context: Context) -> Iterator[Condition]:
    """Yield the conditions that do not apply the function."""
    for condition in context.conditions:
        if letter not in applied_letters(condition.left, condition.right):
            yield condition
