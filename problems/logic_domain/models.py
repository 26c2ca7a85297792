"""Exact entailment between statements about people, by search for a model.

A literal states that a person has a trait, or does not have it. A clause is a set of literals of
which at least one holds. The literals of a clause are either all about named people, or all about
anyone (subject None); a clause about anyone holds for every person.

A conclusion follows from premises if no assignment of traits to people makes the premises true and
the conclusion false. Clauses about anyone are instantiated for every named person, and for one more
person if the conclusion itself is about anyone. There are no functions and no existential
statements, so no other person can matter.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

__all__ = [
    "SOMEONE",
    "Clause",
    "Literal",
    "about",
    "consistent",
    "follows",
    "ground",
    "names_in",
    "negated",
    "restates",
]

SOMEONE = "someone"
"""An arbitrary person without any stated trait. No name collides: names are capitalised."""


class Literal(NamedTuple):
    """The statement that `subject` has the trait if `holds`, else that it does not have it.

    A subject of None means anyone.
    """

    subject: str | None
    trait: str
    holds: bool


Clause = frozenset[Literal]


def negated(literal: Literal) -> Literal:
    """Return the opposite literal."""
    return Literal(literal.subject, literal.trait, not literal.holds)


def about(clause: Clause, name: str) -> Clause:
    """Return the instance of a clause for one person; a clause about named people is unchanged."""
    return frozenset(
        Literal(literal.subject or name, literal.trait, literal.holds) for literal in clause
    )


def ground(clauses: Iterable[Clause], names: Collection[str]) -> Iterator[Clause]:
    """Yield the clauses with those about anyone replaced by their instances for the names."""
    for clause in clauses:
        if _is_about_anyone(clause):
            for name in names:
                yield about(clause, name)
        else:
            yield clause


def names_in(clauses: Iterable[Clause]) -> set[str]:
    """Return the names of the people in the clauses."""
    names: set[str] = set()
    for clause in clauses:
        names.update(literal.subject for literal in clause if literal.subject)
    return names


def follows(premises: Collection[Clause], conclusion: Clause) -> bool:
    """Return whether every model of the premises is a model of the conclusion."""
    opposite = [frozenset([negated(literal)]) for literal in about(conclusion, SOMEONE)]
    names = names_in((*premises, *opposite))
    return not consistent([*ground(premises, names), *opposite])


def restates(accepted: Clause, stated: Clause) -> bool:
    """Return whether `stated` follows from `accepted` alone without a deduction.

    That is the case if it is the same clause, an instance of it, or a weaker clause.
    """
    fixed = about(stated, SOMEONE)
    if any(negated(literal) in fixed for literal in fixed):
        # A clause with a literal and its opposite is always true.
        return True
    if not _is_about_anyone(accepted):
        return accepted <= fixed
    return any(about(accepted, name) <= fixed for name in names_in([fixed]))


def _is_about_anyone(clause: Clause) -> bool:
    return any(literal.subject is None for literal in clause)


def consistent(clauses: Iterable[Clause]) -> bool:
    """Return whether ground clauses have a model.

    Unit propagation alternates with a case distinction (Davis, Logemann, Loveland 1962).
    """
    remaining = _propagated(list(clauses))
    if remaining is None:
        return False
    if not remaining:
        return True
    # A short clause leaves the fewest cases.
    shortest = min(remaining, key=len)
    literal = min(shortest)
    # The second case is searched only if the first one has no model.
    return consistent([*remaining, frozenset([literal])]) or consistent(
        [*remaining, frozenset([negated(literal)])]
    )


def _propagated(clauses: list[Clause]) -> list[Clause] | None:
    """Return the clauses that unit propagation leaves open, or None for a contradiction."""
    while True:
        units = set[Literal]()
        for clause in clauses:
            if len(clause) == 1:
                units |= clause
        if not units:
            break
        opposites = {negated(literal) for literal in units}
        if units & opposites:
            return None
        # A clause with a true literal is satisfied; false literals are removed from the others.
        clauses = [clause - opposites for clause in clauses if not clause & units]
    if frozenset() in clauses:
        return None
    return clauses
