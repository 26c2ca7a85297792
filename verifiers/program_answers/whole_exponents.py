"""Exponents that are whole numbers, for which powers of powers and of products are split.

`((x - 2)^3)^k` and `(x - 2)^(3*k)` are equal for all whole k, and for other k wherever both are
real numbers. A name counts if it is usual for whole numbers and is in exponents only.
"""

from collections.abc import Set

from verifiers.math.syntax import Combined, Name, Negated, Number, Tree, names, walk

# Usual names of whole numbers.
WHOLE = frozenset("jklmnKLMNZ")


def whole_exponents(left: Tree, right: Tree) -> frozenset[str]:
    """Return the names for whole numbers that are in exponents of both expressions only."""
    exponents = _in_exponents(left) | _in_exponents(right)
    return exponents & WHOLE - _elsewhere(left) - _elsewhere(right)


def _in_exponents(tree: Tree) -> frozenset[str]:
    found = set[str]()
    for part in walk(tree):
        if isinstance(part, Combined) and part.operator == "^":
            found |= names(part.right)
    return frozenset(found)


def _elsewhere(tree: Tree) -> frozenset[str]:
    match tree:
        case Combined("^", base, _):
            return _elsewhere(base)
        case Combined(_, left, right):
            return _elsewhere(left) | _elsewhere(right)
        case Negated(operand):
            return _elsewhere(operand)
        case _:
            return names(tree)


def with_joined_exponents(tree: Tree, whole: Set[str]) -> Tree:
    """Return the expression with `b^(c*n)` for `(b^c)^n` where n is a whole number."""
    match tree:
        case Combined("^", Combined("^", base, inner), exponent) if _is_whole(exponent, whole):
            joined = Combined("^", base, Combined("*", inner, exponent))
            return with_joined_exponents(joined, whole)
        case Combined(operator, left, right):
            left = with_joined_exponents(left, whole)
            return Combined(operator, left, with_joined_exponents(right, whole))
        case Negated(operand):
            return Negated(with_joined_exponents(operand, whole))
        case _:
            return tree


def _is_whole(exponent: Tree, whole: Set[str]) -> bool:
    """Return whether an exponent contains names, and is whole if these are whole numbers."""
    if not names(exponent) or not names(exponent) <= whole:
        return False
    for part in walk(exponent):
        match part:
            case Number(value) if value.denominator == 1:
                continue
            case Combined("+" | "-" | "*") | Negated() | Name():
                continue
            case _:
                return False
    return True
