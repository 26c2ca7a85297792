"""Solution sets of statements in one name with rational coefficients: a decision procedure.

The polynomials of all relations are factored, and their real roots isolated. Between the roots, and
at each of them, the sign of every polynomial is known exactly. Two statements have the same
solutions if they have the same truth in all these cells. For equations, complex roots count as
well: `x^2 = -1` is not `false`. Absolute values are split into cases.

What is not covered: other functions, roots and irrational numbers in a relation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from verifiers.math.exact import bit_size
from verifiers.math.syntax import (
    Call,
    Combined,
    Constant,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    map_calls,
    walk,
)
from verifiers.program_answers.statements import (
    Junction,
    Negation,
    Relation,
    Statement,
    Truth,
    holds,
    relations,
)

MAX_DEGREE = 24
MAX_POWER = 10_000
MAX_TERMS = 700
MAX_BITS = 2_000
MAX_RELATIONS = 16
MAX_ABSOLUTE = 3
# The degree times the bits of the coefficients of an irreducible factor; the isolation of roots
# takes minutes for large degrees and large coefficients.
MAX_FACTOR_SIZE = 240
MAX_LOW_DEGREE = 6
MAX_LOW_FACTOR_SIZE = 768
ZERO = Number(Fraction(0))
# The widths to which roots are isolated, until no two intervals touch.
WIDTHS = (None, Fraction(1, 10**3), Fraction(1, 10**9), Fraction(1, 10**30))

# A univariate polynomial of SymPy, which has no types.
Polynomial = Any


@dataclass(frozen=True, slots=True)
class Cell:
    """A root, which is in an interval and a root of a factor, or a rational sample point."""

    low: Fraction
    high: Fraction
    factor: Polynomial = None


def have_same_solutions(left: Statement, right: Statement) -> bool | None:
    """Return whether two statements have the same solutions; None if that is not decided.

    Different solutions must differ in a whole number, unless all relations are equations, or no
    whole number is a solution. Raises UnreadError.
    """
    left = _without_absolute_values(left)
    right = _without_absolute_values(right)
    found = [*relations(left), *relations(right)]
    if len(found) > MAX_RELATIONS:
        raise UnreadError("too many relations")
    is_order = any(relation.operator in ("<", "<=") for relation in found)
    parts = {relation: _ratio(relation) for relation in found}
    factors = _factors(parts.values())
    cells = _cells(factors)
    left_truths = [_truth(left, parts, _sign_in(cell)) for cell in cells]
    right_truths = [_truth(right, parts, _sign_in(cell)) for cell in cells]
    if left_truths == right_truths:
        if is_order or _agree_at_complex_roots(left, right, parts, factors):
            return True
        return None
    if not is_order:
        return False
    whole_cells = [Cell(number, number) for number in _whole_numbers(cells)]
    left_truths = [_truth(left, parts, _sign_in(cell)) for cell in whole_cells]
    right_truths = [_truth(right, parts, _sign_in(cell)) for cell in whole_cells]
    # If no whole number is a solution, the name is not one for whole numbers.
    are_without_whole_numbers = not any(left_truths) and not any(right_truths)
    if left_truths != right_truths or are_without_whole_numbers:
        return False
    return None


def _whole_numbers(cells: Sequence[Cell]) -> set[Fraction]:
    numbers = set[Fraction]()
    for cell in cells:
        for end in (cell.low, cell.high):
            numbers |= {Fraction(end.__floor__() + shift) for shift in (-1, 0, 1, 2)}
    return numbers


def _without_absolute_values(statement: Statement, depth: int = 0) -> Statement:
    """Return the statement with every absolute value replaced by its two cases."""
    match statement:
        case Negation(item):
            return Negation(_without_absolute_values(item))
        case Junction(is_and, items):
            return Junction(is_and, tuple([_without_absolute_values(item) for item in items]))
        case Relation(operator, left, right):
            inner = _absolute_value(left, right)
            if inner is None:
                return statement
            if depth == MAX_ABSOLUTE:
                raise UnreadError("too many absolute values")
            [argument] = inner.arguments
            cases = list[Statement]()
            for sign, value in (("<=", argument), ("<", Negated(argument))):
                low, high = (ZERO, argument) if sign == "<=" else (argument, ZERO)
                relation = Relation(
                    operator, _replaced(left, inner, value), _replaced(right, inner, value)
                )
                case_relation = _without_absolute_values(relation, depth + 1)
                cases.append(Junction(True, (Relation(sign, low, high), case_relation)))
            return Junction(False, tuple(cases))
        case _:
            return statement


def _absolute_value(*trees: Tree) -> Call | None:
    """Return an absolute value that contains no other one."""
    innermost = None
    for tree in trees:
        for part in walk(tree):
            if isinstance(part, Call) and part.function == "abs":
                innermost = part
    return innermost


def _replaced(tree: Tree, call: Call, value: Tree) -> Tree:
    return map_calls(tree, lambda part: value if part == call else part)


def _ratio(relation: Relation) -> tuple[Polynomial, Polynomial]:
    """Return the numerator and the denominator of `right - left`."""
    from sympy import QQ
    from sympy.polys.rings import ring

    domain, generator = ring("x", QQ)
    builder = _Ratios(domain, generator)
    numerator, denominator = builder.ratio(Combined("-", relation.right, relation.left))
    return _small(numerator), _small(denominator)


class _Ratios:
    """Builds ratios of polynomials in the only name."""

    def __init__(self, domain: Any, generator: Polynomial) -> None:
        self.domain = domain
        self.generator = generator

    def ratio(self, tree: Tree) -> tuple[Polynomial, Polynomial]:
        one = self.domain.one
        match tree:
            case Number(value):
                if value.numerator.bit_length() > MAX_BITS:
                    raise UnreadError("a number that is too large")
                return self.constant(value.numerator), self.constant(value.denominator)
            case Constant():
                raise UnreadError("an irrational number")
            case Name():
                return self.generator, one
            case Negated(operand):
                numerator, denominator = self.ratio(operand)
                return -numerator, denominator
            case Combined("^", base, exponent):
                return self.power(self.ratio(base), self.ratio(exponent))
            case Combined(operator, left, right):
                return self.combined(operator, self.ratio(left), self.ratio(right))
            case _:
                raise UnreadError("a function in a relation")

    def constant(self, value: int) -> Polynomial:
        return self.domain.ground_new(value)

    def combined(
        self,
        operator: str,
        left: tuple[Polynomial, Polynomial],
        right: tuple[Polynomial, Polynomial],
    ) -> tuple[Polynomial, Polynomial]:
        a, b = left
        c, d = right
        if max(map(len, (a, b))) * max(map(len, (c, d))) > MAX_TERMS:
            raise UnreadError("too many terms")
        if _coefficient_bits(left) + _coefficient_bits(right) > MAX_BITS:
            raise UnreadError("a number that is too large")
        if operator == "*":
            return a * c, b * d
        if operator == "/":
            if not c:
                raise UnreadError("a division by zero")
            return a * d, b * c
        return (a * d + c * b if operator == "+" else a * d - c * b), b * d

    def power(
        self,
        base: tuple[Polynomial, Polynomial],
        exponent: tuple[Polynomial, Polynomial],
    ) -> tuple[Polynomial, Polynomial]:
        top, bottom = exponent
        if not (top.is_ground and bottom.is_ground):
            raise UnreadError("a name in an exponent")
        number = _rational(top.LC) / _rational(bottom.LC) if top else Fraction(0)
        is_monomial = max(len(base[0]), len(base[1])) == 1 and _has_unit_coefficients(base)
        if not is_monomial and _coefficient_bits(base) * abs(number) > MAX_BITS:
            raise UnreadError("a number that is too large")
        if number.denominator != 1 or abs(number) > (MAX_POWER if is_monomial else MAX_DEGREE):
            raise UnreadError("a power that is not understood")
        numerator, denominator = base if number >= 0 else base[::-1]
        if not denominator or (number == 0 and not numerator):
            raise UnreadError("a division by zero")
        return numerator ** abs(int(number)), denominator ** abs(int(number))


def _rational(value: Any) -> Fraction:
    """Return a rational number of SymPy."""
    return Fraction(int(value.numerator), int(value.denominator))


def _coefficient_bits(ratio: tuple[Polynomial, Polynomial]) -> int:
    """Return the bits of the largest coefficient, and one for every other term."""
    return _largest_bits(ratio) - 1 + max(len(ratio[0]), len(ratio[1]))


def _largest_bits(polynomials: Sequence[Polynomial]) -> int:
    """Return the bits of the largest coefficient."""
    bits = 0
    for polynomial in polynomials:
        for value in polynomial.values():
            bits = max(bits, bit_size(_rational(value)))
    return bits


def _has_unit_coefficients(ratio: tuple[Polynomial, Polynomial]) -> bool:
    values = [*ratio[0].values(), *ratio[1].values()]
    return all(abs(value) == 1 for value in values)


def _small(polynomial: Polynomial) -> Polynomial:
    """Return a polynomial of the same signs and roots, with a power of x of at most 2."""
    if not polynomial:
        return polynomial
    least = min(monomial[0] for monomial in polynomial)
    if least > 2:
        kept = 1 if least % 2 else 2
        domain = polynomial.ring
        terms = {(power - least + kept,): value for (power,), value in polynomial.items()}
        polynomial = domain.from_dict(terms)
    if polynomial.degree() > MAX_DEGREE:
        raise UnreadError("a power that is too large")
    return polynomial


def _factors(ratios: Any) -> Sequence[Polynomial]:
    """Return the irreducible factors of all polynomials, each once."""
    factors = dict[Polynomial, None]()
    total = 0
    for ratio in ratios:
        for polynomial in ratio:
            if not polynomial or polynomial.is_ground:
                continue
            for factor, _ in polynomial.factor_list()[1]:
                factors[factor.monic()] = None
    for factor in factors:
        total += factor.degree()
        limit = MAX_FACTOR_SIZE
        if factor.degree() <= MAX_LOW_DEGREE:
            limit = MAX_LOW_FACTOR_SIZE
        if factor.degree() > 1 and factor.degree() * _largest_bits([factor]) > limit:
            raise UnreadError("roots of very different sizes")
    if total > 2 * MAX_DEGREE:
        raise UnreadError("too many roots")
    return list(factors)


def _cells(factors: Sequence[Polynomial]) -> Sequence[Cell]:
    """Return the roots of the factors and a point between any two neighbours."""
    roots = _roots(factors)
    if not roots:
        return [Cell(Fraction(0), Fraction(0))]
    before = roots[0].low - 1
    cells = [Cell(before, before)]
    for index, root in enumerate(roots):
        cells.append(root)
        after = root.high + 1
        if index + 1 < len(roots):
            after = (root.high + roots[index + 1].low) / 2
        cells.append(Cell(after, after))
    return cells


def _roots(factors: Sequence[Polynomial]) -> Sequence[Cell]:
    for width in WIDTHS:
        roots = list[Cell]()
        for factor in factors:
            for (low, high), _ in _polynomial(factor).intervals(eps=width):
                roots.append(Cell(_rational(low), _rational(high), factor))
        roots.sort(key=lambda root: (root.low, root.high))
        touching = [a for a, b in pairwise(roots) if a.high >= b.low]
        if not touching:
            return roots
    raise UnreadError("roots that are too close")


def _polynomial(factor: Polynomial) -> Any:
    from sympy import Poly, Symbol

    return Poly(factor.as_expr(), Symbol("x"))


def _truth(
    statement: Statement,
    parts: Mapping[Relation, tuple[Polynomial, Polynomial]],
    sign_of: Callable[[Polynomial], int],
) -> bool:
    """Return whether a statement holds where the polynomials have certain signs."""
    truths = dict[Statement, bool]()
    for relation in relations(statement):
        numerator, denominator = parts[relation]
        sign = sign_of(denominator)
        # A relation whose sides have no values does not hold.
        truths[relation] = sign != 0 and _holds(relation.operator, sign_of(numerator) * sign)
    return holds(statement, truths)


def _holds(operator: str, sign: int) -> bool:
    """Return whether a relation holds from the sign of `right - left`."""
    match operator:
        case "=":
            return sign == 0
        case "#":
            return sign != 0
        case "<":
            return sign > 0
        case _:
            return sign >= 0


def _sign_in(cell: Cell) -> Callable[[Polynomial], int]:
    """Return the function that computes the signs of polynomials in a cell."""

    def sign_of(polynomial: Polynomial) -> int:
        if not polynomial or (cell.factor is not None and not polynomial.rem(cell.factor)):
            return 0
        # Other roots of the polynomial are in no interval: its sign is the same at both ends.
        for point in (cell.low, cell.high):
            value = polynomial(polynomial.ring.domain(point.numerator, point.denominator))
            if value != 0:
                return 1 if value > 0 else -1
        return 0

    return sign_of


def _agree_at_complex_roots(
    left: Statement,
    right: Statement,
    parts: Mapping[Relation, tuple[Polynomial, Polynomial]],
    factors: Sequence[Polynomial],
) -> bool:
    """Return whether equations have the same truth at the roots of every factor."""
    for factor in factors:

        def sign_of(polynomial: Polynomial, factor: Polynomial = factor) -> int:
            return int(bool(polynomial.rem(factor)))

        if _truth(left, parts, sign_of) is not _truth(right, parts, sign_of):
            return False
    return True


def is_always(statement: Statement) -> bool | None:
    """Return True if a statement always holds, False if it never does; else None."""
    for value in (True, False):
        if have_same_solutions(statement, Truth(value)):
            return value
    return None
