"""Comparisons of linear sums, exactly: `y = x + 2`, `0 < 2y <= 7`, `3(x - 1)/2 >= 0.5`.

Variables are single small letters. What is not linear, divides by a variable or by zero, nests deeply or has long numbers is not read.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from verifiers.entailment_logic.cursor import Cursor, UnreadError

__all__ = ["NUMBER", "Relation", "opposite", "relations"]

MAX_DIGITS = 12
MAX_BITS = 256
"""Of a numerator or denominator on the way."""
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
OPPOSITES: Mapping[str, str] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
MINUS, TIMES = ("-", "−"), ("*", "×", "·")

_Sum = Mapping[str, Fraction]
"""Coefficients by variable; that of the empty name is the constant."""


class Relation(NamedTuple):
    """That the sum of the terms, each a variable and its coefficient, stands in a relation (= != < <= > >=) to a number."""

    terms: tuple[tuple[str, Fraction], ...]
    sign: str
    number: Fraction


def opposite(relation: Relation) -> Relation:
    """What holds when the relation does not."""
    return relation._replace(sign=OPPOSITES[relation.sign])


def relations(words: Cursor) -> Sequence[Relation]:
    """A chain of comparisons, link by link; `UnreadError` where there is none."""
    sums, signs = [_sum(words, 0)], list[str]()
    while words.next in SIGNS:
        signs.append(SIGNS[words.pop()])
        sums.append(_sum(words, 0))
    if not signs:
        raise UnreadError
    return [
        _relation(left, sign, right)
        for (left, right), sign in zip(pairwise(sums), signs, strict=True)
    ]


def _relation(left: _Sum, sign: str, right: _Sum) -> Relation:
    difference = _added(left, right, Fraction(-1))
    terms = tuple(sorted((name, factor) for name, factor in difference.items() if name and factor))
    return Relation(terms, sign, -difference.get("", Fraction(0)))


def _sum(words: Cursor, depth: int) -> _Sum:
    if depth > MAX_DEPTH:
        raise UnreadError
    total: _Sum = {}
    sign = _sign(words)
    total = _added(total, _product(words, depth), Fraction(sign or 1))
    while sign := _sign(words):
        total = _added(total, _product(words, depth), Fraction(sign))
    return total


def _sign(words: Cursor) -> int:
    """1 for a plus, -1 for a minus, 0 for neither."""
    if words.take("+"):
        return 1
    return -1 if any(words.take(minus) for minus in MINUS) else 0


def _product(words: Cursor, depth: int) -> _Sum:
    product = _factor(words, depth)
    while True:
        if any(words.take(times) for times in TIMES):
            product = _multiplied(product, _factor(words, depth))
        elif words.take("/"):
            product = _divided(product, _factor(words, depth))
        elif product.keys() <= {""} and (VARIABLE.fullmatch(words.next) or words.next == "("):
            product = _multiplied(product, _factor(words, depth))
        else:
            return product


def _factor(words: Cursor, depth: int) -> _Sum:
    token = words.pop()
    if token == "(":
        inner = _sum(words, depth + 1)
        words.expect(")")
        return inner
    if VARIABLE.fullmatch(token):
        return {token: Fraction(1)}
    if not re.fullmatch(NUMBER, token) or len(token) > MAX_DIGITS:
        raise UnreadError
    return {"": Fraction(token)}


def _added(left: _Sum, right: _Sum, times: Fraction) -> _Sum:
    return _bounded(
        {
            name: left.get(name, Fraction(0)) + times * right.get(name, Fraction(0))
            for name in {**left, **right}
        }
    )


def _multiplied(left: _Sum, right: _Sum) -> _Sum:
    if not left.keys() <= {""}:
        left, right = right, left
    if not left.keys() <= {""}:
        raise UnreadError
    times = left.get("", Fraction(0))
    return _bounded({name: times * factor for name, factor in right.items()})


def _divided(left: _Sum, right: _Sum) -> _Sum:
    by = right.get("", Fraction(0))
    if not right.keys() <= {""} or by == 0:
        raise UnreadError
    return _bounded({name: factor / by for name, factor in left.items()})


def _bounded(total: _Sum) -> _Sum:
    if any(
        max(factor.numerator.bit_length(), factor.denominator.bit_length()) > MAX_BITS
        for factor in total.values()
    ):
        raise UnreadError
    return total
