r"""Judge a formula that contains an expression whose value the step states before.

Example: `w^2 + 1/w^2 = -1`, and then `(w^2 + 1/w^2)^2 = w^4 + 2 + 1/w^4 = -1`. The expression is
replaced by its value, and the formula must have the value at the end of its chain. What is false is
a suspicion: by then, the names may have other values.

What is not covered: equations with the value zero, statements that words such as "the second shop"
tell apart, names and their values (see `substitutions`), decimals, expressions in another
form, values of earlier steps than the one before.
"""

from collections.abc import Iterator
from fractions import Fraction

from verifiers.algebra_rules import values
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.stated_equations import is_supposed
from verifiers.algebra_rules.statements import Chain
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.lexicon import words
from verifiers.math.syntax import (
    Call,
    Combined,
    Name,
    Negated,
    Number,
    Tree,
    UndefinedError,
    has_decimals,
    names,
)

KNOWN_EXPRESSION = "value of an expression"
# `x^2 = 4` and `x^2 - 9 = 0` are two equations to solve.
ZERO = Number(Fraction(0))
# Words that tell two objects, times or cases with the same letters apart.
APART = words(
    "first second third other another old new when for after before from on if case modulo does or"
)
# Every formula is searched for every known expression.
MAX_KNOWN = 12


def known_expressions(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every formula that contains a known expression, with the judgement."""
    known = dict[Tree, Tree]()
    for chain in (*context.last_before, *context.chains):
        if not APART.isdisjoint(word.lower() for word in chain.before):
            known.clear()
        value = _final_value(chain)
        formula = chain.sides[0].tree
        if value is None or formula is None or not names(formula):
            continue
        if chain in context.chains and value != ZERO:
            replaced = _replace(formula, known)
            if replaced != formula and not names(replaced):
                judgement = _judge(replaced, value, context)
                if judgement is not None:
                    yield chain.text, judgement
        if isinstance(formula, Combined | Call) and len(known) < MAX_KNOWN:
            known[formula] = value


def _final_value(chain: Chain) -> Tree | None:
    """Return the closed formula at the end of a chain of claimed equations, or None."""
    if set(chain.relations) != {"="} or is_supposed(chain):
        return None
    last = chain.sides[-1].tree
    if last is None or names(last) or has_decimals(last):
        return None
    return last


def _replace(tree: Tree, known: dict[Tree, Tree]) -> Tree:
    """Return the tree with every known expression inside it replaced by its value."""
    match tree:
        case Negated(operand):
            return Negated(_inner(operand, known))
        case Combined(operator, left, right):
            return Combined(operator, _inner(left, known), _inner(right, known))
        case Call(function, arguments):
            return Call(function, tuple(_inner(argument, known) for argument in arguments))
        case _:
            return tree


def _inner(tree: Tree, known: dict[Tree, Tree]) -> Tree:
    if tree in known and not isinstance(tree, Name):
        return known[tree]
    return _replace(tree, known)


def _judge(formula: Tree, value: Tree, context: Context) -> StepJudgement | None:
    """Return the judgement; None if a side has no value."""
    try:
        sign = values.order(formula, value, {})
    except UndefinedError:
        return None
    if sign is None:
        return None
    if sign == 0:
        return HOLDS
    return false(KNOWN_EXPRESSION, "it has another value by the equation before", context.cases)
