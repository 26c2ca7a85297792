r"""Sets of real numbers as unions of intervals, and linear inequalities.

A set is a `forms.Union` of disjoint intervals in ascending order, in which a point is the interval
`[a, a]`. All ends are compared exactly. Raises UnreadError where two ends are too close to compare.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cmp_to_key

from verifiers.answer_forms import forms
from verifiers.answer_forms.forms import Bracketed, Form, Infinite, Quantity
from verifiers.answer_forms.formulas import order
from verifiers.math.exact import exact_value
from verifiers.math.syntax import (
    Combined,
    Mixed,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    has_decimals,
    names,
)

# Every piece may be compared with every other one.
MAX_PIECES = 24
LOW = Infinite(positive=False)
HIGH = Infinite(positive=True)
# The name of the constant among the coefficients of a linear expression.
CONSTANT = ""


def interval(low: Form, high: Form, brackets: str) -> Bracketed:
    """Return an interval; an infinite end does not belong to it."""
    opening = brackets[0]
    closing = brackets[1]
    if isinstance(low, Infinite):
        opening = "("
    if isinstance(high, Infinite):
        closing = ")"
    return Bracketed((low, high), opening + closing, bounds=True)


REALS = forms.Union((interval(LOW, HIGH, "()"),))
EMPTY = forms.Union(())


def set_of(form: Form) -> forms.Union | None:
    """Return the set that a form means where a set of real numbers is expected, or None."""
    match form:
        case Quantity(unit=frozenset(unit), percent=False) if not unit and not names(form.tree):
            return forms.Union((interval(form, form, "[]"),))
        case Bracketed(items=(low, high)) if _is_end(low) and _is_end(high):
            return union([interval(low, high, form.brackets)])
        case forms.Several(items, is_set=True):
            return _union_of_forms(items)
        case forms.Union(items):
            return _union_of_forms(items)
        case forms.Words(words="all real numbers"):
            return REALS
        case forms.Words(words="empty set"):
            return EMPTY
        case _:
            return None


def _is_end(form: Form) -> bool:
    if isinstance(form, Quantity):
        return not form.unit and not form.percent and not names(form.tree)
    return isinstance(form, Infinite)


def _union_of_forms(items: Sequence[Form]) -> forms.Union | None:
    pieces = list[Bracketed]()
    for item in items:
        part = set_of(item)
        if part is None:
            return None
        pieces += _pieces(part)
    return union(pieces)


def _pieces(real_set: forms.Union) -> Sequence[Bracketed]:
    return [piece for piece in real_set.items if isinstance(piece, Bracketed)]


def may_be_rounded(real_set: forms.Union) -> bool:
    """Return whether an end is a decimal."""
    for piece in _pieces(real_set):
        for end in piece.items:
            if isinstance(end, Quantity) and has_decimals(end.tree):
                return True
    return False


def union(pieces: Sequence[Form]) -> forms.Union:
    """Return the union of intervals, of which some may be empty."""
    if len(pieces) > MAX_PIECES:
        raise UnreadError("too many parts")
    intervals = [piece for piece in pieces if isinstance(piece, Bracketed)]
    nonempty = [piece for piece in intervals if not _is_empty(piece)]
    merged = list[Bracketed]()
    for piece in sorted(nonempty, key=cmp_to_key(_order_of_lows)):
        if merged and _touch(merged[-1], piece):
            merged[-1] = _joined(merged[-1], piece)
        else:
            merged.append(piece)
    return forms.Union(tuple(merged))


def intersection(left: forms.Union, right: forms.Union) -> forms.Union:
    """Return the common numbers of two sets."""
    pieces = list[Bracketed]()
    for a in _pieces(left):
        for b in _pieces(right):
            later = max(a, b, key=cmp_to_key(_order_of_lows))
            earlier = min(a, b, key=cmp_to_key(_order_of_highs))
            brackets = later.brackets[0] + earlier.brackets[1]
            pieces.append(interval(later.items[0], earlier.items[1], brackets))
    return union(pieces)


def have_same_whole_numbers(left: Form, right: Form) -> bool:
    """Return whether two sets with whole ends have the same whole numbers: x > 1 and x >= 2."""
    left_set = set_of(left)
    right_set = set_of(right)
    if left_set is None or right_set is None:
        return False
    whole_numbers = _whole_numbers(left_set)
    return whole_numbers is not None and whole_numbers == _whole_numbers(right_set)


def _whole_numbers(real_set: forms.Union) -> Sequence[tuple[int | None, int | None]] | None:
    """Return the first and the last whole number of every piece; None if an end is not whole.

    The first or last number of an unbounded piece is None.
    """
    bounds = list[tuple[int | None, int | None]]()
    for piece in _pieces(real_set):
        ends = list[int | None]()
        # An end in a round bracket does not belong to the piece, but its neighbour does.
        for end, bracket, inwards in zip(piece.items, piece.brackets, (1, -1), strict=True):
            if isinstance(end, Infinite):
                ends.append(None)
                continue
            value = exact_value(end.tree) if isinstance(end, Quantity) else None
            if value is None or value.denominator != 1:
                return None
            ends.append(int(value) + inwards if bracket in "()" else int(value))
        bounds.append((ends[0], ends[1]))
    return bounds


def only_value(real_set: forms.Union) -> Form | None:
    """Return the only number of a set; None if there is none, or another one."""
    pieces = _pieces(real_set)
    if len(pieces) != 1 or _order_of_ends(*pieces[0].items) != 0:
        return None
    return pieces[0].items[0]


def without_point(point: Form) -> forms.Union:
    """Return all real numbers except one."""
    return forms.Union((interval(LOW, point, "()"), interval(point, HIGH, "()")))


def solution(difference: Tree, *, is_strict: bool) -> forms.Union | forms.Inequality:
    """Return where a linear expression is positive, or not negative.

    It is a set for one variable, and an inequality for several. Raises UnreadError.
    """
    if has_decimals(difference):
        raise UnreadError("an inequality with decimals that is not solved")
    coefficients = linear(difference)
    if coefficients is None:
        raise UnreadError("an inequality that is not linear")
    variables = sorted([name for name, value in coefficients.items() if name and value != 0])
    constant = coefficients.get(CONSTANT, Fraction(0))
    if not variables:
        raise UnreadError("an inequality without a variable")
    scale = abs(coefficients[variables[0]])
    if len(variables) > 1:
        terms = [(name, coefficients[name] / scale) for name in variables]
        return forms.Inequality((*terms, (CONSTANT, constant / scale)), is_strict)
    root = quantity_of(-constant / coefficients[variables[0]])
    if coefficients[variables[0]] > 0:
        return forms.Union((interval(root, HIGH, "()" if is_strict else "[)"),))
    return forms.Union((interval(LOW, root, "()" if is_strict else "(]"),))


def quantity_of(value: Fraction) -> Quantity:
    """Return a rational number as an expression."""
    tree: Tree = Number(Fraction(abs(value.numerator)))
    source = str(abs(value.numerator))
    if value.denominator != 1:
        tree = Combined("/", tree, Number(Fraction(value.denominator)))
        source = rf"\frac{{{source}}}{{{value.denominator}}}"
    if value < 0:
        return Quantity(Negated(tree), "-" + source)
    return Quantity(tree, source)


def linear(tree: Tree) -> Mapping[str, Fraction] | None:
    """Return the coefficients of a linear expression with rational ones, else None."""
    if not names(tree):
        value = Fraction(0)
        match tree:
            case Mixed(integer, part):
                value = integer.value + part
            case _:
                exact = exact_value(tree)
                if exact is None:
                    return None
                value = exact
        return {CONSTANT: value}
    match tree:
        case Name(text, argument=None):
            return {text: Fraction(1)}
        case Negated(operand):
            return _scaled(linear(operand), Fraction(-1))
        case Combined("+", left, right):
            return _added(linear(left), linear(right))
        case Combined("-", left, right):
            return _added(linear(left), _scaled(linear(right), Fraction(-1)))
        case Combined("*" | "/" as operator, left, right):
            return _product(operator, linear(left), linear(right))
        case _:
            return None


def _product(
    operator: str, left: Mapping[str, Fraction] | None, right: Mapping[str, Fraction] | None
) -> Mapping[str, Fraction] | None:
    if left is None or right is None:
        return None
    if operator == "*" and left.keys() == {CONSTANT}:
        left, right = right, left
    if right.keys() != {CONSTANT}:
        return None
    factor = right[CONSTANT]
    if operator == "/":
        if factor == 0:
            return None
        factor = 1 / factor
    return _scaled(left, factor)


def _scaled(
    coefficients: Mapping[str, Fraction] | None, factor: Fraction
) -> Mapping[str, Fraction] | None:
    if coefficients is None:
        return None
    return {name: value * factor for name, value in coefficients.items()}


def _added(
    left: Mapping[str, Fraction] | None, right: Mapping[str, Fraction] | None
) -> Mapping[str, Fraction] | None:
    if left is None or right is None:
        return None
    total = dict(left)
    for name, value in right.items():
        total[name] = total.get(name, Fraction(0)) + value
    return total


def _order_of_ends(left: Form, right: Form) -> int:
    """Return -1, 0 or 1: whether the left end is smaller, equal or larger."""
    for end, other, result in ((left, right, 1), (right, left, -1)):
        if isinstance(end, Infinite):
            if end == other:
                return 0
            if end.positive:
                return result
            return -result
    assert isinstance(left, Quantity), "an end is a quantity or infinite"
    assert isinstance(right, Quantity), "an end is a quantity or infinite"
    return order(left.tree, right.tree)


def _order_of_lows(left: Bracketed, right: Bracketed) -> int:
    """Compare two lower ends; of equal ones, the one that belongs to its interval comes first."""
    result = _order_of_ends(left.items[0], right.items[0])
    return result or (left.brackets[0] == "(") - (right.brackets[0] == "(")


def _order_of_highs(left: Bracketed, right: Bracketed) -> int:
    """Compare two upper ends; of equal ones, the one that belongs to its interval comes last."""
    result = _order_of_ends(left.items[1], right.items[1])
    return result or (left.brackets[1] == "]") - (right.brackets[1] == "]")


def _is_empty(piece: Bracketed) -> bool:
    result = _order_of_ends(piece.items[0], piece.items[1])
    return result > 0 or (result == 0 and piece.brackets != "[]")


def _touch(left: Bracketed, right: Bracketed) -> bool:
    """Return whether there is no gap between two intervals, of which the left one begins first."""
    result = _order_of_ends(right.items[0], left.items[1])
    return result < 0 or (result == 0 and (left.brackets[1] == "]" or right.brackets[0] == "["))


def _joined(left: Bracketed, right: Bracketed) -> Bracketed:
    last = max(left, right, key=cmp_to_key(_order_of_highs))
    return interval(left.items[0], last.items[1], left.brackets[0] + last.brackets[1])
