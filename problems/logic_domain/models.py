"""What follows from what, by search for a model: statements about named people as clauses, exact and without a prover.

A literal says that somebody has a trait, or has not. A clause is a set of literals of which at least one holds; its literals are all about
named people, or all about anyone (subject None), and then the clause holds for everyone. A conclusion follows when no way of giving
traits to people makes the premises true and the conclusion false. Clauses about anyone are tried on every person named, and on one
more when the conclusion itself is about anyone: there are no functions and no "somebody", so no other person can matter.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

__all__ = ["SOMEONE", "Clause", "Literal", "consistent", "follows", "ground", "negated", "restates"]

SOMEONE = "someone"
"""The person of whom nothing is said; no name, since names are capitalised."""


class Literal(NamedTuple):
    """That `subject`, or anyone when it is None, has the trait, or has it not."""

    subject: str | None
    trait: str
    holds: bool


Clause = frozenset[Literal]


def negated(literal: Literal) -> Literal:
    """The opposite."""
    return Literal(literal.subject, literal.trait, not literal.holds)


def about(clause: Clause, name: str) -> Clause:
    """What a clause says of one person where it speaks of anyone."""
    return frozenset(
        Literal(literal.subject or name, literal.trait, literal.holds) for literal in clause
    )


def ground(clauses: Iterable[Clause], names: Collection[str]) -> Iterator[Clause]:
    """The clauses without "anyone"."""
    for clause in clauses:
        if _is_about_anyone(clause):
            yield from (about(clause, name) for name in names)
        else:
            yield clause


def follows(premises: Collection[Clause], conclusion: Clause) -> bool:
    """Whether every model of the premises is one of the conclusion."""
    opposite = [frozenset([negated(literal)]) for literal in about(conclusion, SOMEONE)]
    names = {
        literal.subject
        for clause in (*premises, *opposite)
        for literal in clause
        if literal.subject
    }
    return not consistent([*ground(premises, names), *opposite])


def restates(known: Clause, stated: Clause) -> bool:
    """Whether `stated` says no more than `known` alone: the same clause, an instance of it, or a weaker one."""
    fixed = about(stated, SOMEONE)
    if any(negated(literal) in fixed for literal in fixed):
        return True
    if not _is_about_anyone(known):
        return known <= fixed
    return any(
        about(known, name) <= fixed
        for name in {literal.subject for literal in fixed if literal.subject}
    )


def _is_about_anyone(clause: Clause) -> bool:
    return any(literal.subject is None for literal in clause)


def consistent(clauses: Iterable[Clause]) -> bool:
    """Whether clauses without "anyone" have a model: unit propagation, then a case distinction (Davis, Logemann, Loveland)."""
    left = _propagated(list(clauses))
    if not left:
        return left is not None
    shortest = min(left, key=len)
    literal = min(shortest)
    return any(consistent([*left, frozenset([choice])]) for choice in (literal, negated(literal)))


def _propagated(clauses: list[Clause]) -> list[Clause] | None:
    """What is left open when every clause of one literal is granted; None when that is a contradiction."""
    while units := {literal for clause in clauses if len(clause) == 1 for literal in clause}:
        against = {negated(literal) for literal in units}
        if units & against:
            return None
        clauses = [clause - against for clause in clauses if not clause & units]
    return None if frozenset() in clauses else clauses
