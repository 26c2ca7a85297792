"""Compare two expressions, or two equations, by their values.

    equal      rational numbers that are equal, formulas that are written alike, and formulas whose
               values agree to hundreds of digits at every point, if math-verify agrees
    different  closed values that differ, formulas in one variable that differ wherever both have a
               value, linear equations that are no multiples
    unknown    everything else: different names, several variables or one that may be a parameter
               (`n`, `k`, `C`), rounded decimals, units that convert, logarithms without a base

What is not covered: equality under the conditions that the problem states.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random

from stepmark.records import Verdict
from verifiers.answer_forms import second_opinion
from verifiers.answer_forms.forms import Equation, Quantity
from verifiers.answer_forms.rounding import may_round
from verifiers.answer_forms.values import compare, exact_value, within
from verifiers.math.errors import UndefinedError
from verifiers.math.lexicon import FAMILIES, PARAMETERS
from verifiers.math.syntax import (
    BARE_LOG,
    Combined,
    I,
    Mixed,
    Negated,
    Number,
    Tree,
    functions,
    names,
    walk,
)

# The verdict and its reason.
Judgement = tuple[Verdict, str]
Point = Mapping[str, Fraction]
# Half of the points are positive, half have mixed signs; half of each are below 1.
POINTS = 12
# The number of points at which both formulas must have a value.
MIN_POINTS = 3
HUNDRED = Number(Fraction(100))
LOGARITHM = "a logarithm without a base"


def judge_quantities(left: Quantity, right: Quantity) -> Judgement:
    """Compare two expressions with their units and percent signs."""
    if not (left.unit <= right.unit or right.unit <= left.unit):
        return Verdict.UNKNOWN, "different units"
    if left.percent is right.percent:
        return _judge_trees(left, right, left.tree, right.tree)
    percentage, plain = (left, right) if left.percent else (right, left)
    # The last two are equivalent, but a decimal may be rounded only if it is the whole side.
    readings = [
        (percentage.tree, plain.tree),
        (Combined("/", percentage.tree, HUNDRED), plain.tree),
        (percentage.tree, Combined("*", plain.tree, HUNDRED)),
    ]
    judgements = [_judge_trees(percentage, plain, a, b) for a, b in readings]
    for judgement in judgements:
        if judgement[0] is Verdict.CORRECT:
            return judgement
    if all(verdict is Verdict.INCORRECT for verdict, _ in judgements):
        return judgements[0]
    return Verdict.UNKNOWN, "possibly a percentage"


def judge_equations(left: Equation, right: Equation) -> Judgement:
    """Compare two equations: equal ones are multiples at rational points."""
    variables = names(left.difference)
    if variables != names(right.difference) or not variables:
        return Verdict.UNKNOWN, "different variables"
    if left.source == right.source:
        return Verdict.CORRECT, "the same equation"
    points = _points(sorted(variables), left.difference, right.difference)
    left_values = _rational_values(left.difference, points)
    right_values = _rational_values(right.difference, points)
    if left_values is None or right_values is None or 0 in (*left_values, *right_values):
        return Verdict.UNKNOWN, "no rational value"
    quotients = {a / b for a, b in zip(left_values, right_values, strict=True)}
    if len(quotients) == 1:
        return _confirm(left.source, right.source)
    if _is_linear(left.difference, variables) and _is_linear(right.difference, variables):
        return Verdict.INCORRECT, "different linear equations"
    return Verdict.UNKNOWN, "equations that are not multiples"


def has_value(tree: Tree) -> bool:
    """Return whether the expression has a value at some point."""
    points = _points(sorted(names(tree)), tree)
    return any(_equal_at(tree, tree, point) for point in points)


def _judge_trees(left: Quantity, right: Quantity, a: Tree, b: Tree) -> Judgement:
    """Compare the trees `a` and `b`, which are readings of the two sides."""
    if left.source == right.source and a == b:
        return Verdict.CORRECT, "the same formula"
    if names(a) != names(b) and names(a) and names(b):
        return Verdict.UNKNOWN, "different variables"
    if names(a) or names(b):
        return _judge_at_points(left, right, a, b)
    try:
        comparison = compare(a, b, {})
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"
    if comparison.equal is None:
        return Verdict.UNKNOWN, "too close to distinguish"
    if not comparison.equal:
        return _judge_different(left, right, a, b)
    if comparison.exact:
        return Verdict.CORRECT, "equal numbers"
    return _confirm_readings(left, right, a, b)


def _judge_different(left: Quantity, right: Quantity, a: Tree, b: Tree) -> Judgement:
    """Judge closed values that differ: they may be equal in another reading."""
    is_mixed = any(isinstance(part, Mixed) for part in (*walk(a), *walk(b)))
    if is_mixed and compare(a, b, {}, products=True).equal is not False:
        return Verdict.UNKNOWN, "a mixed number or a product"
    if BARE_LOG in functions(a) | functions(b):
        return Verdict.UNKNOWN, LOGARITHM
    units = left.unit | right.unit
    if left.unit != right.unit and not FAMILIES.keys().isdisjoint(units):
        return Verdict.UNKNOWN, "a unit that may have been converted"
    if units and compare(a, Negated(b), {}).equal is not False:
        return Verdict.UNKNOWN, "the opposite sign, with words"
    if _may_be_rounded(a, b) or _may_be_rounded(b, a):
        return Verdict.UNKNOWN, "equal when rounded"
    return Verdict.INCORRECT, "different numbers"


def _may_be_rounded(shown: Tree, exact: Tree) -> bool:
    """Return whether `shown` is a decimal that may be `exact` with fewer digits."""
    while isinstance(shown, Negated):
        shown = shown.operand
        exact = exact.operand if isinstance(exact, Negated) else Negated(exact)
    if not isinstance(shown, Number):
        return False
    decimals = exact.decimals if isinstance(exact, Number) else None
    if not may_round(shown.decimals, decimals):
        return False
    return within(shown, exact, Fraction(1, 10**shown.decimals))


def _judge_at_points(left: Quantity, right: Quantity, a: Tree, b: Tree) -> Judgement:
    """Compare formulas with variables at the points where both are defined."""
    variables = names(a) | names(b)
    results = list[bool]()
    for point in _points(sorted(variables), a, b):
        equal = _equal_at(a, b, point)
        if equal is not None:
            results.append(equal)
    if len(results) < MIN_POINTS:
        return Verdict.UNKNOWN, "too few common values"
    if all(results):
        return _confirm_readings(left, right, a, b)
    if any(results):
        return Verdict.UNKNOWN, "equal for some values"
    if BARE_LOG in functions(a) | functions(b):
        return Verdict.UNKNOWN, LOGARITHM
    if len(variables) > 1 or not PARAMETERS.isdisjoint(variables) or names(a) != names(b):
        return Verdict.UNKNOWN, "formulas that differ, but a condition may restrict their variables"
    return Verdict.INCORRECT, "different formulas"


def _equal_at(left: Tree, right: Tree, point: Point) -> bool | None:
    is_complex = I in walk(left) or I in walk(right)
    try:
        return compare(left, right, point, real=not is_complex).equal
    except UndefinedError:
        return None


def _points(variables: Sequence[str], *trees: Tree) -> Sequence[Point]:
    """Return the points, which depend only on the names; whole ones for factorials."""
    random = Random(" ".join(variables))
    need_whole = any(functions(tree) & {"!", "binom"} for tree in trees)
    points = list[Point]()
    for index in range(POINTS):
        point = dict[str, Fraction]()
        for name in variables:
            if need_whole:
                point[name] = Fraction(random.randint(2, 40))
            else:
                point[name] = _coordinate(random, index)
        points.append(point)
    return points


def _coordinate(random: Random, index: int) -> Fraction:
    """Return a number of 1/3 to 10 for even indices and below 1 for odd ones."""
    size = Fraction(random.randint(1_000, 9_999), random.randint(1_000, 3_000))
    if index % 2 == 1:
        size /= 16
    return size if index < POINTS // 2 else size * random.choice((1, -1))


def _confirm_readings(left: Quantity, right: Quantity, a: Tree, b: Tree) -> Judgement:
    """Confirm an equality if the trees are those of the text, which math-verify reads."""
    if (a, b) != (left.tree, right.tree):
        return Verdict.UNKNOWN, "possibly a percentage"
    return _confirm(left.source, right.source)


def _confirm(left: str, right: str) -> Judgement:
    if second_opinion.says_equal(left, right):
        return Verdict.CORRECT, "equal formulas"
    return Verdict.UNKNOWN, "equal here, but not according to math-verify"


def _rational_values(tree: Tree, points: Sequence[Point]) -> Sequence[Fraction] | None:
    values = list[Fraction]()
    for point in points:
        try:
            value = exact_value(tree, point)
        except UndefinedError:
            return None
        if value is None:
            return None
        values.append(value)
    return values


def _is_linear(tree: Tree, variables: frozenset[str]) -> bool:
    """Return whether f(p + q) + f(0) = f(p) + f(q) at random points."""
    first, second, *_ = _points(sorted(variables))
    both = dict[str, Fraction]()
    origin = dict[str, Fraction]()
    for name in variables:
        both[name] = first[name] + second[name]
        origin[name] = Fraction(0)
    values = _rational_values(tree, (first, second, both, origin))
    return values is not None and values[0] + values[1] == values[2] + values[3]
