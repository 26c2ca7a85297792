"""Equations and inequalities in several names: multiples are equal, a witness shows a difference.

A witness is a point of positive whole numbers at which one statement holds and the other one does
not; for equations, one name may have another rational value.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from verifiers.answer_forms.formulas import in_degrees, rational_values
from verifiers.math.syntax import (
    BARE_LOG,
    Call,
    Combined,
    I,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    functions,
    has_decimals,
    map_calls,
    walk,
)
from verifiers.program_answers.monomials import Monomial, Sum, added, scaled
from verifiers.program_answers.normal_forms import HALF, NormalForms
from verifiers.program_answers.statements import (
    Junction,
    Relation,
    Statement,
    holds,
    names_in,
    relations,
    trees,
)
from verifiers.program_answers.values import equal_at, has_unknown_function, whole_points

ZERO = Number(Fraction(0))
ONE = Number(Fraction(1))
TWO = Number(Fraction(2))


def as_relation(statement: Statement) -> Relation | None:
    """Return one relation with zero on the right; a product for equations between `or`."""
    match statement:
        case Relation("=" | "#" as operator, Call("abs", (left,)), Call("abs", (right,))) if (
            I not in walk(left) and I not in walk(right)
        ):
            # Real numbers of the same size have the same square.
            squares = [Combined("^", side, TWO) for side in (left, right)]
            return Relation(operator, Combined("-", *squares), ZERO)
        case Relation(operator, left, right):
            return Relation(operator, Combined("-", left, right), ZERO)
        case Junction(False, items):
            product: Tree = ONE
            for item in items:
                factor = as_relation(item)
                if factor is None or factor.operator != "=" or not _is_polynomial(factor.left):
                    return None
                product = Combined("*", product, factor.left)
            return Relation("=", product, ZERO)
        case _:
            return None


def _is_polynomial(tree: Tree) -> bool:
    """Return whether an expression has a value everywhere, unlike `1/x` in `x = 0 or y = 1/x`."""
    for part in walk(tree):
        match part:
            case Number() | Name() | Negated() | Combined("+" | "-" | "*"):
                continue
            case Combined("/", _, Number(value)) if value:
                continue
            case Combined("^", _, Number(value)) if value.denominator == 1 and value > 0:
                continue
            case _:
                return False
    return True


def _same_relations(left: Statement, right: Statement) -> tuple[str, NormalForms, Sum, Sum] | None:
    """Return the operator of both statements, and their sides in normal form; else None."""
    first = as_relation(left)
    second = as_relation(right)
    if first is None or second is None or first.operator != second.operator:
        return None
    forms = NormalForms(first.left, second.left)
    return first.operator, forms, forms.form(first.left), forms.form(second.left)


def are_equivalent(left: Statement, right: Statement) -> bool:
    """Return whether two statements are one relation, or multiples of it. Raises UnreadError."""
    same = _same_relations(left, right)
    if same is None:
        return False
    operator, forms, a, b = same
    # Other atoms, such as logarithms, may have other domains in the two statements.
    if not a or not b or not _is_algebraic(forms):
        return False
    factors = _factors(forms, a, b)
    if factors is None:
        return False
    own, other = factors
    is_order = operator in ("<", "<=")
    if is_order and (list(own) != [()] or list(other) != [()] or own[()] * other[()] < 0):
        return False
    difference = added(forms.product(a, other), scaled(forms.product(b, own), Fraction(-1)))
    return forms.is_zero(difference)


def are_different_linear(left: Statement, right: Statement) -> bool:
    """Return whether two linear equations with complex coefficients are no multiples."""
    same = _same_relations(left, right)
    if same is None or same[0] != "=":
        return False
    _, forms, a, b = same
    if {key.kind for key in forms.atoms.keys} - {"name", "unit"}:
        return False
    # Only 1 and i are independent of each other: (-1)^(1/3) is 1 + (-1)^(2/3).
    if not (_has_only_square_roots(forms, a) and _has_only_square_roots(forms, b)):
        return False
    groups = (_by_variables(forms, a), _by_variables(forms, b))
    if not a or groups[0].keys() != groups[1].keys():
        return False
    for variables in groups[0]:
        if variables and [exponent for _, exponent in variables] != [1]:
            return False
    key = max(groups[0])
    own = groups[0][key]
    other = groups[1][key]
    difference = added(forms.product(a, other), scaled(forms.product(b, own), Fraction(-1)))
    return bool(difference)


def _is_algebraic(forms: NormalForms) -> bool:
    kinds = {key.kind for key in forms.atoms.keys}
    if kinds <= {"name", "base", "application", "unit", "prime", "pi"}:
        return True
    # A constant power of e.
    exponential = [index for index, key in enumerate(forms.atoms.keys) if key.kind == "exponential"]
    is_constant = not any(forms.atoms.dependencies[index] for index in exponential)
    return is_constant and not kinds - {"name", "unit", "prime", "pi", "exponential"}


def _factors(forms: NormalForms, left: Sum, right: Sum) -> tuple[Sum, Sum] | None:
    """Return the constant coefficients of one monomial in both sums, if neither is zero."""
    own = _by_variables(forms, left)
    other = _by_variables(forms, right)
    key = max(own)
    if key not in other:
        return None
    if not (_is_nonzero(forms, own[key]) and _is_nonzero(forms, other[key])):
        return None
    return own[key], other[key]


def _is_nonzero(forms: NormalForms, terms: Sum) -> bool:
    """Return whether a constant sum is certainly not zero: one term, or terms in 1 and i."""
    if len(terms) == 1:
        return True
    atoms = set[int]()
    for monomial in terms:
        atoms.update(index for index, _ in monomial)
    is_complex = all(forms.atoms.keys[index].kind == "unit" for index in atoms)
    return is_complex and _has_only_square_roots(forms, terms)


def _has_only_square_roots(forms: NormalForms, terms: Sum) -> bool:
    """Return whether i is the only power of -1 in a sum."""
    for monomial in terms:
        for index, exponent in monomial:
            if forms.atoms.keys[index].kind == "unit" and exponent != HALF:
                return False
    return True


def _by_variables(forms: NormalForms, terms: Sum) -> Mapping[Monomial, Sum]:
    """Return the constant coefficients of the monomials in atoms that depend on names."""
    groups = dict[Monomial, Sum]()
    for monomial, coefficient in terms.items():
        variable = tuple([part for part in monomial if forms.atoms.dependencies[part[0]]])
        constant = tuple([part for part in monomial if not forms.atoms.dependencies[part[0]]])
        groups.setdefault(variable, {})[constant] = coefficient
    return groups


def are_different(left: Statement, right: Statement) -> bool:
    """Return whether a point shows that two statements in the same names are different."""
    names = sorted(names_in(left))
    expressions = [*trees(left), *trees(right)]
    if not names or names != sorted(names_in(right)) or has_decimals(*expressions):
        return False
    if has_unknown_function(*expressions) or any(map(_has_open_unit, expressions)):
        return False
    if are_different_linear(left, right):
        return True
    for point in _witnesses(left, right, names):
        first = _truth(left, point)
        second = _truth(right, point)
        if first is not None and second is not None and first is not second:
            return True
    return False


def _has_open_unit(tree: Tree) -> bool:
    """Return whether a plain angle may be in degrees, or a logarithm may have any base."""
    return BARE_LOG in functions(tree) or map_calls(tree, in_degrees) != tree


def _witnesses(
    left: Statement, right: Statement, names: Sequence[str]
) -> Iterator[Mapping[str, Fraction]]:
    """Yield points of whole numbers, and solutions of one of the statements, if it is linear."""
    for point in whole_points(names):
        yield point
        for statement in (left, right):
            relation = as_relation(statement)
            if relation is None or relation.operator != "=":
                continue
            for name in names:
                value = _root(relation.left, point, name)
                if value is not None:
                    yield {**point, name: value}


def _root(tree: Tree, point: Mapping[str, Fraction], name: str) -> Fraction | None:
    """Return where an expression is zero if it is linear in a name."""
    values = list[Fraction]()
    for number in (0, 1):
        value = _value(tree, {**point, name: Fraction(number)})
        if value is None:
            return None
        values.append(value)
    slope = values[1] - values[0]
    return -values[0] / slope if slope else None


def _value(tree: Tree, point: Mapping[str, Fraction]) -> Fraction | None:
    """Return the exact rational value at a point."""
    try:
        numbers = rational_values(tree, [point])
    except (UnreadError, ArithmeticError, KeyError):
        return None
    return numbers[0] if numbers else None


def _truth(statement: Statement, point: Mapping[str, Fraction]) -> bool | None:
    """Return whether a statement holds at a point; None if that is not decided."""
    truths = dict[Statement, bool]()
    for relation in relations(statement):
        is_equal = equal_at(relation.left, relation.right, point)
        if is_equal is None:
            return None
        if relation.operator in ("=", "#"):
            truths[relation] = is_equal is (relation.operator == "=")
            continue
        value = _value(Combined("-", relation.right, relation.left), point)
        if value is None:
            return None
        truths[relation] = value > 0 or (value == 0 and relation.operator == "<=")
    try:
        return holds(statement, truths)
    except KeyError:
        return None
