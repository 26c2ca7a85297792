"""Linear comparisons are read as arithmetic would have them."""

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.entailment_logic.cursor import Cursor, UnreadError
from verifiers.entailment_logic.linear import Relation, opposite, relations

SIGNS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.sampled_from(["0", "1", "2", "7", "0.5", "12.25"])
Sum = tuple[str, Callable[[Mapping[str, Fraction]], Fraction]]
"""A sum as it is written, with spaces, and its value."""


def _combined(parts: tuple[Sum, str, Sum]) -> Sum:
    (left, of_left), sign, (right, of_right) = parts
    how = {"+": operator.add, "-": operator.sub}[sign]
    return f"( {left} {sign} {right} )", lambda values: how(of_left(values), of_right(values))


def _scaled(parts: tuple[str, str, Sum]) -> Sum:
    number, sign, (text, of_text) = parts
    if sign == "/":
        return f"( {text} ) / 4", lambda values: of_text(values) / 4
    return f"{number} {sign} ( {text} )", lambda values: Fraction(number) * of_text(values)


def _turned(part: Sum) -> Sum:
    return f"( - {part[0]} )", lambda values: -part[1](values)


LEAVES: st.SearchStrategy[Sum] = st.one_of(
    NUMBERS.map(lambda number: (number, lambda _: Fraction(number))),
    st.sampled_from("xyz").map(lambda name: (name, lambda values: values[name])),
)
SUMS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-"), inner).map(_combined),
        st.tuples(NUMBERS, st.sampled_from(["*", "·", "", "/"]), inner).map(_scaled),
        inner.map(_turned),
    ),
    max_leaves=8,
)
VALUES = st.fixed_dictionaries({name: st.fractions(-9, 9, max_denominator=4) for name in "xyz"})


def _holds(relation: Relation, values: Mapping[str, Fraction]) -> bool:
    total = sum((factor * values[name] for name, factor in relation.terms), Fraction(0))
    return SIGNS[relation.sign](total, relation.number)


@given(left=SUMS, sign=st.sampled_from(sorted(SIGNS)), right=SUMS, values=VALUES)
def test_a_comparison_holds_where_arithmetic_says_so(
    left: Sum, sign: str, right: Sum, values: Mapping[str, Fraction]
) -> None:
    (relation,) = relations(Cursor(f"{left[0]} {sign} {right[0]}".split()))
    assert _holds(relation, values) is SIGNS[sign](left[1](values), right[1](values))
    assert _holds(opposite(relation), values) is not _holds(relation, values)


def test_a_chain_is_read_link_by_link() -> None:
    assert relations(Cursor(["0", "<", "x", "≤", "2", "y"])) == [
        Relation((("x", Fraction(-1)),), "<", Fraction(0)),
        Relation((("x", Fraction(1)), ("y", Fraction(-2))), "<=", Fraction(0)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x + = 1",
        "x * y = 1",
        "1 / x = 1",
        "x / 0 = 1",
        "x / ( 1 - 1 ) = 1",
        "( x = 1",
        "x 2 = 1",
        "x = 1 +",
        "",
        "Ana = 1",
        "xy = 1",
    ],
)
def test_what_is_no_linear_comparison_is_not_read(text: str) -> None:
    words = Cursor(text.split())
    with pytest.raises(UnreadError):
        _read_all(words)


def _read_all(words: Cursor) -> None:
    relations(words)
    if words.next:
        raise UnreadError
