"""Exact comparisons of linear sums: `y = x + 2`, `0 < 2y <= 7`, `3(x - 1)/2 >= 0.5`.

Variables are single lowercase letters. The parser rejects terms that are not linear, divisions by a
variable or by zero, deep nesting, and long numbers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from verifiers.entailment_logic.cursor import NotInLanguageError, TokenCursor

__all__ = ["NUMBER", "LinearRelation", "negate_relation", "parse_relations"]

MAX_DIGITS = 12
# The limit on every numerator and denominator, intermediate results included.
MAX_BITS = 256
MAX_DEPTH = 20
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
VARIABLE = re.compile("[a-z]")
SIGNS: Mapping[str, str] = {
    "=": "=",
    "==": "=",
    "≠": "!=",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    "≤": "<=",
    ">": ">",
    ">=": ">=",
    "≥": ">=",
}
NEGATED_SIGNS: Mapping[str, str] = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}
# The second minus is U+2212.
MINUS_SIGNS = ("-", "−")
TIMES_SIGNS = ("*", "×", "·")

_LinearSum = Mapping[str, Fraction]
"""Coefficients by variable. The coefficient of the empty name is the constant term."""
CONSTANT = ""


class LinearRelation(NamedTuple):
    """A comparison of a linear sum with a number.

    `terms` are pairs of a variable and its coefficient, sorted; `sign` is = != < <= > or >=.
    """

    terms: tuple[tuple[str, Fraction], ...]
    sign: str
    number: Fraction


def negate_relation(relation: LinearRelation) -> LinearRelation:
    """Return the relation that holds exactly when the given one does not."""
    return relation._replace(sign=NEGATED_SIGNS[relation.sign])


def parse_relations(cursor: TokenCursor) -> Sequence[LinearRelation]:
    """Parse a chain of comparisons, and return one relation per link.

    Raises:
        NotInLanguageError: The tokens at the cursor are not a comparison.
    """
    sums = [_parse_sum(cursor, 0)]
    signs = list[str]()
    while cursor.current in SIGNS:
        signs.append(SIGNS[cursor.advance()])
        sums.append(_parse_sum(cursor, 0))
    if not signs:
        raise NotInLanguageError
    relations = list[LinearRelation]()
    for (left, right), sign in zip(pairwise(sums), signs, strict=True):
        relations.append(_relation(left, sign, right))
    return relations


def _relation(left: _LinearSum, sign: str, right: _LinearSum) -> LinearRelation:
    """Move all terms to the left side and the constant to the right side."""
    difference = _add(left, right, Fraction(-1))
    terms = list[tuple[str, Fraction]]()
    for name, coefficient in sorted(difference.items()):
        if name != CONSTANT and coefficient:
            terms.append((name, coefficient))
    return LinearRelation(tuple(terms), sign, -difference.get(CONSTANT, Fraction(0)))


def _parse_sum(cursor: TokenCursor, depth: int) -> _LinearSum:
    if depth > MAX_DEPTH:
        raise NotInLanguageError
    sign = _accept_sign(cursor) or 1
    total = _add({}, _parse_product(cursor, depth), Fraction(sign))
    while sign := _accept_sign(cursor):
        total = _add(total, _parse_product(cursor, depth), Fraction(sign))
    return total


def _accept_sign(cursor: TokenCursor) -> int:
    """Read a sign. Return 1 for a plus, -1 for a minus, and 0 if there is neither."""
    if cursor.accept("+"):
        return 1
    if _accept_any(cursor, MINUS_SIGNS):
        return -1
    return 0


def _accept_any(cursor: TokenCursor, tokens: Iterable[str]) -> bool:
    return any(cursor.accept(token) for token in tokens)


def _parse_product(cursor: TokenCursor, depth: int) -> _LinearSum:
    product = _parse_factor(cursor, depth)
    while True:
        if _accept_any(cursor, TIMES_SIGNS):
            product = _multiply(product, _parse_factor(cursor, depth))
        elif cursor.accept("/"):
            product = _divide(product, _parse_factor(cursor, depth))
        elif _is_constant(product) and _starts_implicit_factor(cursor.current):
            product = _multiply(product, _parse_factor(cursor, depth))
        else:
            return product


def _starts_implicit_factor(token: str) -> bool:
    """Return whether a token continues a product without a sign, as in `2x` and `2(x + 1)`."""
    return token == "(" or VARIABLE.fullmatch(token) is not None


def _parse_factor(cursor: TokenCursor, depth: int) -> _LinearSum:
    token = cursor.advance()
    if token == "(":
        inner = _parse_sum(cursor, depth + 1)
        cursor.expect(")")
        return inner
    if VARIABLE.fullmatch(token):
        return {token: Fraction(1)}
    if not re.fullmatch(NUMBER, token) or len(token) > MAX_DIGITS:
        raise NotInLanguageError
    return {CONSTANT: Fraction(token)}


def _is_constant(total: _LinearSum) -> bool:
    return total.keys() <= {CONSTANT}


def _add(left: _LinearSum, right: _LinearSum, factor: Fraction) -> _LinearSum:
    """Return `left + factor * right`."""
    total = dict(left)
    for name, coefficient in right.items():
        total[name] = total.get(name, Fraction(0)) + factor * coefficient
    return _check_size(total)


def _multiply(left: _LinearSum, right: _LinearSum) -> _LinearSum:
    if not _is_constant(left):
        left, right = right, left
    if not _is_constant(left):
        raise NotInLanguageError
    factor = left.get(CONSTANT, Fraction(0))
    return _check_size({name: factor * coefficient for name, coefficient in right.items()})


def _divide(left: _LinearSum, right: _LinearSum) -> _LinearSum:
    divisor = right.get(CONSTANT, Fraction(0))
    if not _is_constant(right) or divisor == 0:
        raise NotInLanguageError
    return _check_size({name: coefficient / divisor for name, coefficient in left.items()})


def _check_size(total: _LinearSum) -> _LinearSum:
    for coefficient in total.values():
        bits = max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length())
        if bits > MAX_BITS:
            raise NotInLanguageError
    return total
