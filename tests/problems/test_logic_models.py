"""Compare entailment with truth tables."""

from collections.abc import Collection
from itertools import combinations, compress, product

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

NAMES = ("Ana", "Ben")
TRAITS = ("kind", "tall", "wise")
PEOPLE = (*NAMES, SOMEONE)


def _clauses(
    subjects: st.SearchStrategy[str] | st.SearchStrategy[None],
) -> st.SearchStrategy[Clause]:
    literals = st.builds(Literal, subjects, st.sampled_from(TRAITS), st.booleans())
    return st.frozensets(literals, min_size=1, max_size=3)


GROUND = _clauses(st.sampled_from(NAMES))
CLAUSES = GROUND | _clauses(st.none())


def _holds(clause: Clause, world: Collection[tuple[str | None, str]]) -> bool:
    """Return whether a clause holds; one about anyone must hold for each person."""
    if any(literal.subject is None for literal in clause):
        return all(_holds(about(clause, name), world) for name in PEOPLE)
    return any(((literal.subject, literal.trait) in world) is literal.holds for literal in clause)


def _all_worlds() -> list[frozenset[tuple[str, str]]]:
    """Return every assignment of traits to people, as the pairs that hold."""
    pairs = list(product(PEOPLE, TRAITS))
    worlds: list[frozenset[tuple[str, str]]] = []
    for row in product((False, True), repeat=len(pairs)):
        worlds.append(frozenset(compress(pairs, row)))
    return worlds


def _hold(clauses: Collection[Clause], world: Collection[tuple[str | None, str]]) -> bool:
    return all(_holds(clause, world) for clause in clauses)


WORLDS = _all_worlds()


@given(premises=st.lists(CLAUSES, max_size=5), conclusion=CLAUSES)
def test_entailment_agrees_with_truth_tables(premises: list[Clause], conclusion: Clause) -> None:
    models = [world for world in WORLDS if _hold(premises, world)]
    assert follows(premises, conclusion) is all(_holds(conclusion, world) for world in models)


@given(clauses=st.lists(CLAUSES, max_size=8))
def test_consistent_clauses_have_a_model(clauses: list[Clause]) -> None:
    has_model = any(_hold(clauses, world) for world in WORLDS)
    assert consistent(ground(clauses, PEOPLE)) is has_model


@given(accepted=CLAUSES, stated=CLAUSES)
def test_restatement_is_entailment_from_one_clause(accepted: Clause, stated: Clause) -> None:
    if follows([], accepted):  # a tautology
        assert restates(accepted, stated) <= follows([], stated)
    else:
        assert restates(accepted, stated) is follows([accepted], stated)


def _sits_in(pigeon: int, hole: int, holds: bool) -> Literal:
    return Literal("Ana", f"p{pigeon}h{hole}", holds)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_pigeonhole_clauses_are_inconsistent(size: int) -> None:
    """The pigeonhole principle: nothing to propagate, only cases to distinguish."""
    pigeons = range(size + 1)
    holes = range(size)
    has_hole: list[Clause] = []
    for pigeon in pigeons:
        has_hole.append(frozenset(_sits_in(pigeon, hole, True) for hole in holes))
    no_shared_hole: list[Clause] = []
    for hole in holes:
        for first, second in combinations(pigeons, 2):
            no_shared_hole.append(
                frozenset([_sits_in(first, hole, False), _sits_in(second, hole, False)])
            )
    assert not consistent([*has_hole, *no_shared_hole])
    assert consistent([*has_hole[1:], *no_shared_hole])
