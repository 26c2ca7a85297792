"""What follows from what, against truth tables."""

from collections.abc import Collection
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.logic_domain.models import (
    SOMEONE,
    Clause,
    Literal,
    about,
    consistent,
    follows,
    ground,
    restates,
)

NAMES, TRAITS = ("Ana", "Ben"), ("kind", "tall", "wise")
PEOPLE = (*NAMES, SOMEONE)


def _clauses(
    subjects: st.SearchStrategy[str] | st.SearchStrategy[None],
) -> st.SearchStrategy[Clause]:
    literals = st.builds(Literal, subjects, st.sampled_from(TRAITS), st.booleans())
    return st.frozensets(literals, min_size=1, max_size=3)


GROUND = _clauses(st.sampled_from(NAMES))
CLAUSES = GROUND | _clauses(st.none())


def _is_so(clause: Clause, world: Collection[tuple[str | None, str]]) -> bool:
    """Of one about anyone: of each of the people."""
    if any(literal.subject is None for literal in clause):
        return all(_is_so(about(clause, name), world) for name in PEOPLE)
    return any(((literal.subject, literal.trait) in world) is literal.holds for literal in clause)


WORLDS = [
    frozenset(thing for thing, holds in zip(product(PEOPLE, TRAITS), row, strict=True) if holds)
    for row in product((False, True), repeat=len(PEOPLE) * len(TRAITS))
]


@given(premises=st.lists(CLAUSES, max_size=5), conclusion=CLAUSES)
def test_what_follows_is_so_wherever_the_premises_are(
    premises: list[Clause], conclusion: Clause
) -> None:
    left = [world for world in WORLDS if all(_is_so(premise, world) for premise in premises)]
    assert follows(premises, conclusion) is all(_is_so(conclusion, world) for world in left)


@given(clauses=st.lists(CLAUSES, max_size=8))
def test_what_is_consistent_has_a_model(clauses: list[Clause]) -> None:
    has_model = any(all(_is_so(clause, world) for clause in clauses) for world in WORLDS)
    assert consistent(ground(clauses, PEOPLE)) is has_model


@given(known=CLAUSES, stated=CLAUSES)
def test_one_clause_restates_another_when_it_follows_from_that_one_alone(
    known: Clause, stated: Clause
) -> None:
    if follows([], known):  # says nothing
        assert restates(known, stated) <= follows([], stated)
    else:
        assert restates(known, stated) is follows([known], stated)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_more_people_than_places_do_not_fit(size: int) -> None:
    """The pigeonhole principle: nothing to propagate, only cases to distinguish."""
    in_some = [
        frozenset(Literal("Ana", f"p{pigeon}h{hole}", True) for hole in range(size))
        for pigeon in range(size + 1)
    ]
    apart = [
        frozenset(
            [Literal("Ana", f"p{one}h{hole}", False), Literal("Ana", f"p{other}h{hole}", False)]
        )
        for hole in range(size)
        for one in range(size + 1)
        for other in range(one)
    ]
    assert not consistent([*in_some, *apart])
    assert consistent([*in_some[1:], *apart])
