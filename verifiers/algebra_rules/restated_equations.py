r"""Judge an equation or inequality that is said to be the one before it in another form.

Examples: `4y - 4x^2 + 4x - 4y^2 = 2, or (2x - 1)^2 + (2y - 1)^2 = 2`; `cd = (c - a + a)d`,
expanding the right side, `cd = cd + ac`; `m^2 - 32 > 0`, which implies `(m - 4)(m + 8) > 0`. The
rule `consequence` gives verdicts on the same kind of statement. This one reads more words between
the two, names with an index, "or" between equations in several names, equal left sides that are no
names, and inequalities that each hold where the other does not. What is false is a suspicion.

What is not covered: equations with decimals, roots or functions in several names; cases.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from verifiers.algebra_rules import values
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.identities import Equality, compare
from verifiers.algebra_rules.ratios import Polynomial
from verifiers.algebra_rules.stated_equations import (
    StatedEquation,
    equation_of,
    has_lost_bar,
    in_line,
    is_supposed,
    polynomials,
)
from verifiers.algebra_rules.statements import Chain
from verifiers.math.findings import StepJudgement, false
from verifiers.math.intervals import Real
from verifiers.math.lexicon import OPERATING, PASSAGE, RESTATING, words
from verifiers.math.syntax import Name, Tree, UndefinedError, has_decimals, names

RESTATED = "restated equation"
ONE_FORM = "the words between two equations add no other fact"

SIGNS = words(", . : ; • ( ) \\quad \\qquad implies implying means that after value result us") | {
    "\n"
}
INDEXED = re.compile(r"\\?[A-Za-z]+_\{?\w+\}?")
MAX_WORDS = 16
# The share of common terms of two equations between which "or" stands.
ALIKE = Fraction(1, 2)
# The relative error up to which irrational values of one expression are not different.
CLOSE = Fraction(1, 20)
# Each pair of inequalities is compared at many points: 140 pairs took seven seconds.
MAX_INEQUALITIES = 8
POINTS = [Fraction(thirds, 3) for thirds in range(-61, 62)]


def restated_equations(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every statement that is no other form of the one before it, with the judgement."""
    count = 0
    for before, after in pairwise((*context.last_before, *context.chains)):
        is_or = after.before[-1:] == ("or",)
        if (is_supposed(before) and not is_or) or not _is_passage(after):
            continue
        if not (is_or or _is_restated(after)):
            continue
        is_inequality = not set(after.relations).isdisjoint(values.INEQUALITIES)
        count += is_inequality
        if is_inequality and count > MAX_INEQUALITIES:
            continue
        reason = _contradiction(before, after, is_or=is_or)
        if reason:
            judgement = false(RESTATED, reason, ONE_FORM, in_line(before, after), context.cases)
            yield after.text, judgement


def _is_passage(after: Chain) -> bool:
    """Return whether the words before a statement only connect it with the one before."""
    if "and" in after.after[:1] or len(after.before) > MAX_WORDS:
        return False
    for word in after.before[:-1] if after.before[-1:] == ("or",) else after.before:
        is_name = (len(word) == 1 and word.isalnum()) or INDEXED.fullmatch(word) is not None
        if word not in PASSAGE | SIGNS and not is_name and not word.isdigit():
            return False
    return True


def _is_restated(after: Chain) -> bool:
    between = set(after.before)
    return not between.isdisjoint(RESTATING | OPERATING | {"implies", "implying", "means"})


def _contradiction(before: Chain, after: Chain, *, is_or: bool) -> str:
    """Return why a statement contradicts the one before it, or an empty string."""
    inequalities = set(before.relations) | set(after.relations)
    if inequalities <= set(values.INEQUALITIES):
        return "" if is_or else _contradiction_of_inequalities(before, after)
    if inequalities != {"="}:
        return ""
    if not is_or and before.sides[0].tree == after.sides[0].tree is not None:
        return _contradiction_of_values(before, after)
    first = equation_of(before)
    second = equation_of(after)
    if first is None or second is None or not _have_other_solutions(first, second, is_or=is_or):
        return ""
    return f"it is no other form of {before.text}"


def _have_other_solutions(first: StatedEquation, second: StatedEquation, *, is_or: bool) -> bool:
    """Return whether two equations in the same several names have no common factor."""
    if first.names != second.names or len(first.names) < 2:
        return False
    if has_lost_bar((first.left, first.right), (second.left, second.right)):
        return False
    pair = polynomials(first.left, first.right, second.left, second.right)
    if pair is None or pair[0].is_ground or pair[1].is_ground:
        return False
    if not pair[0].gcd(pair[1]).is_ground:
        return False
    # `ab = 3 or ab = -3` are two cases.
    if is_or and first.left == second.left:
        return False
    return not is_or or _shared_terms(*pair) >= ALIKE


def _shared_terms(first: Polynomial, second: Polynomial) -> Fraction:
    """Return the share of terms that are equal if the polynomials are scaled to agree in one."""
    counts = dict[Fraction, int]()
    for monomial, coefficient in first.items():
        if monomial in second:
            ratio = second[monomial] / coefficient
            counts[ratio] = counts.get(ratio, 0) + 1
    return Fraction(max(counts.values(), default=0), max(len(first), len(second)))


def _contradiction_of_values(before: Chain, after: Chain) -> str:
    """Return why two values of one expression, which is no name, differ."""
    subject = before.sides[0].tree
    first = before.sides[-1].tree
    second = after.sides[1].tree
    if subject is None or first is None or second is None or names(first) != names(second):
        return ""
    if not names(subject) or has_decimals(first, second):
        return ""
    if names(first):
        if isinstance(subject, Name):
            return ""
        # `(b - 1)^2 = 3b + 1`, expanding, `(b - 1)^2 = b^2 - 2b + 1`: the second is a rewriting.
        is_false = _differ_everywhere(first, second) and _differ_everywhere(subject, second)
    else:
        is_false = _differ(first, second, is_name=isinstance(subject, Name))
    return f"it was {before.sides[-1].text}" if is_false else ""


def _differ_everywhere(first: Tree, second: Tree) -> bool:
    return compare(first, second).equality in (Equality.NEVER, Equality.NEVER_SEEN)


def _differ(first: Tree, second: Tree, *, is_name: bool) -> bool:
    """Return whether two closed formulas differ; those of a name must be exact fractions."""
    try:
        a = values.evaluate(first, {})
        b = values.evaluate(second, {})
    except UndefinedError:
        return False
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a != b and min(a.denominator, b.denominator) > 1
    if is_name:
        return False
    error = abs(values.midpoint(a) - values.midpoint(b))
    return error > CLOSE * max(abs(values.midpoint(a)), abs(values.midpoint(b)))


def _contradiction_of_inequalities(before: Chain, after: Chain) -> str:
    """Return why two inequalities in one name do not have nested sets of solutions."""
    if len(before.relations) > 1 or len(after.relations) > 1:
        return ""
    outcomes = set[tuple[bool, bool]]()
    for point in POINTS:
        first = _holds(before, point)
        second = _holds(after, point)
        if first is None or second is None:
            return ""
        outcomes.add((first, second))
    if (True, False) in outcomes and (False, True) in outcomes:
        return f"each holds where the other does not: {before.text}"
    return ""


def _holds(chain: Chain, point: Fraction) -> bool | None:
    left = chain.sides[0].tree
    right = chain.sides[1].tree
    if left is None or right is None or has_decimals(left, right):
        return None
    variables = names(left) | names(right)
    # Two bounds of a name may be cases.
    if len(variables) != 1 or isinstance(left, Name) or isinstance(right, Name):
        return None
    environment: Mapping[str, Real] = dict.fromkeys(variables, point)
    try:
        sign = values.order(left, right, environment, values.DECIMAL_BASE)
    except UndefinedError:
        return None
    return None if sign is None else sign in values.HOLDING_SIGNS[chain.relations[0]]
