"""Linear comparisons are parsed, and hold where arithmetic says so."""

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.entailment_logic.cursor import NotInLanguageError, TokenCursor
from verifiers.entailment_logic.linear import LinearRelation, negate_relation, parse_relations

SIGNS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Zero makes terms vanish, and decimals must be read exactly.
NUMBERS = st.sampled_from(["0", "1", "2", "7", "0.5", "12.25"])
WrittenSum = tuple[str, Callable[[Mapping[str, Fraction]], Fraction]]
"""A sum as text, with spaces between its tokens, and the function that computes its value."""


def _combine(parts: tuple[WrittenSum, str, WrittenSum]) -> WrittenSum:
    (left, left_value), sign, (right, right_value) = parts
    operation = {"+": operator.add, "-": operator.sub}[sign]

    def value(values: Mapping[str, Fraction]) -> Fraction:
        return Fraction(operation(left_value(values), right_value(values)))

    return f"( {left} {sign} {right} )", value


def _scale(parts: tuple[str, str, WrittenSum]) -> WrittenSum:
    number, sign, (text, text_value) = parts
    # Only a constant may be a divisor.
    if sign == "/":
        return f"( {text} ) / 4", lambda values: text_value(values) / 4
    return f"{number} {sign} ( {text} )", lambda values: Fraction(number) * text_value(values)


def _negate(written: WrittenSum) -> WrittenSum:
    text, text_value = written
    return f"( - {text} )", lambda values: -text_value(values)


LEAVES: st.SearchStrategy[WrittenSum] = st.one_of(
    NUMBERS.map(lambda number: (number, lambda _: Fraction(number))),
    st.sampled_from("xyz").map(lambda name: (name, lambda values: values[name])),
)
SUMS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-"), inner).map(_combine),
        st.tuples(NUMBERS, st.sampled_from(["*", "·", "", "/"]), inner).map(_scale),
        inner.map(_negate),
    ),
    max_leaves=8,
)
# Small values with small denominators make equal sides likely.
VALUES = st.fixed_dictionaries({name: st.fractions(-9, 9, max_denominator=4) for name in "xyz"})


def _holds(relation: LinearRelation, values: Mapping[str, Fraction]) -> bool:
    total = sum((factor * values[name] for name, factor in relation.terms), Fraction(0))
    return SIGNS[relation.sign](total, relation.number)


@given(left=SUMS, sign=st.sampled_from(sorted(SIGNS)), right=SUMS, values=VALUES)
def test_comparison_agrees_with_arithmetic(
    left: WrittenSum, sign: str, right: WrittenSum, values: Mapping[str, Fraction]
) -> None:
    (relation,) = parse_relations(TokenCursor(f"{left[0]} {sign} {right[0]}".split()))
    assert _holds(relation, values) is SIGNS[sign](left[1](values), right[1](values))
    assert _holds(negate_relation(relation), values) is not _holds(relation, values)


def test_chain_is_parsed_link_by_link() -> None:
    assert parse_relations(TokenCursor(["0", "<", "x", "≤", "2", "y"])) == [
        # Variables are moved to the left side, numbers to the right.
        LinearRelation((("x", Fraction(-1)),), "<", Fraction(0)),
        LinearRelation((("x", Fraction(1)), ("y", Fraction(-2))), "<=", Fraction(0)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x + = 1",
        # Products and quotients of variables are not linear.
        "x * y = 1",
        "1 / x = 1",
        "x / 0 = 1",
        # The divisor is zero only after it is computed.
        "x / ( 1 - 1 ) = 1",
        "( x = 1",
        "x 2 = 1",
        "x = 1 +",
        "",
        # Variables are single letters.
        "Ana = 1",
        "xy = 1",
    ],
)
def test_other_text_is_rejected(text: str) -> None:
    cursor = TokenCursor(text.split())
    with pytest.raises(NotInLanguageError):
        _parse_all(cursor)


def _parse_all(cursor: TokenCursor) -> None:
    parse_relations(cursor)
    if cursor.current:
        raise NotInLanguageError
