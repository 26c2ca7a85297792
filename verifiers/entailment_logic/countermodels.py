"""Whether clauses follow from clauses, decided by z3: no model of the premises makes the conclusion false.

Clauses about anyone are tried on every person named, and on one more when the conclusion is about anyone itself; without functions and
without "somebody" no other person can matter.

Numbers may be any, or whole ones: a text seldom says. So where numbers are compared, "does not follow" is said only when there is a
countermodel in which every number is whole that the premises allow to be, or when the premises refute the conclusion.

Every use has a solver of its own. A thread keeps its context, since z3's main one crashes when threads share it; a countermodel is
looked for in a fresh one, so that it does not depend on what was asked before.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import z3

from stepmark.records import Verdict
from verifiers.entailment_logic.linear import Relation
from verifiers.entailment_logic.statements import Atom, Clause, Trait, negated

__all__ = ["Entailed", "contradict", "countermodel", "follow"]

TIMEOUT_MS = 1_000
RESOURCES = 2_000_000
"""z3's own count of its work; a check of this language takes some thousands. It ends a hard one at the same place on every machine."""
MAX_SHOWN = 12
SHOWN_DIGITS = 20
SOMEONE = "someone"
_OF_THREAD = threading.local()


@dataclass(frozen=True, slots=True)
class Entailed:
    """Correct when it follows, incorrect when there is a countermodel, unknown with what stood in the way."""

    verdict: Verdict
    reason: str = ""


@lru_cache(maxsize=4096)
def follow(premises: tuple[Clause, ...], conclusion: tuple[Clause, ...]) -> Entailed:
    """Whether all of the conclusion follows from the premises."""
    found = (_follows(_context(), premises, clause) for clause in conclusion)
    return next(
        (entailed for entailed in found if entailed.verdict is not Verdict.CORRECT),
        Entailed(Verdict.CORRECT),
    )


@lru_cache(maxsize=1024)
def countermodel(premises: tuple[Clause, ...], conclusion: tuple[Clause, ...]) -> str:
    """What may be so where the premises hold and the conclusion does not: "x = 4, Ana is not tall"; empty when it follows."""
    found = (_follows(z3.Context(), premises, clause, show=True) for clause in conclusion)
    return next(
        (entailed.reason for entailed in found if entailed.verdict is Verdict.INCORRECT), ""
    )


@lru_cache(maxsize=256)
def contradict(clauses: tuple[Clause, ...]) -> bool:
    """Whether the clauses have no model, or none was found in time."""
    return bool(clauses) and _Search(_context(), clauses).check() != z3.sat


def _follows(
    context: Any, premises: Sequence[Clause], conclusion: Clause, *, show: bool = False
) -> Entailed:
    search = _Search(
        context,
        [
            *(frozenset([negated(atom)]) for atom in sorted(_of(conclusion, SOMEONE), key=repr)),
            *premises,
        ],
    )
    found = search.check()
    if found == z3.unsat:
        return Entailed(Verdict.CORRECT)
    if found != z3.sat:
        return Entailed(Verdict.UNKNOWN, "not decided in time")
    shown = search.shown() if show else ""
    whole = [
        name
        for name in sorted(search.numbers)
        if _Search(context, premises).check([name]) != z3.unsat
    ]
    if whole and search.check(whole) == z3.sat:
        shown = search.shown() if show else ""
    elif whole and _Search(context, [*premises, conclusion]).check() != z3.unsat:
        return Entailed(Verdict.UNKNOWN, "may depend on numbers being whole")
    return Entailed(Verdict.INCORRECT, shown)


class _Search:
    """A search for people and numbers such that clauses hold; z3 gets them as SMT-LIB, in names of our own."""

    def __init__(self, context: Any, clauses: Sequence[Clause]) -> None:
        self._solver = z3.SimpleSolver(ctx=context)
        self._solver.set(timeout=TIMEOUT_MS, rlimit=RESOURCES, random_seed=0)
        self._traits: dict[Trait, str] = {}
        self.numbers: dict[str, None] = {}
        asserted = [self._asserted(clause) for clause in _grounded(clauses)]
        declared = [f"(declare-const {name} Bool)" for name in self._traits.values()]
        declared += [f"(declare-const {name} Real)" for name in self.numbers]
        self._solver.from_string("".join((*declared, *asserted)))

    def check(self, whole: Iterable[str] = ()) -> Any:
        """sat, unsat or unknown, with the named numbers whole."""
        context = self._solver.ctx
        return self._solver.check(
            [z3.IsInt(z3.Real(name, context)) for name in whole if name in self.numbers]
        )

    def shown(self) -> str:
        """What was found."""
        model, context = self._solver.model(), self._solver.ctx
        shown = [
            f"{name} = {_number(model.eval(z3.Real(name, context), model_completion=True))}"
            for name in sorted(self.numbers)
        ]
        for trait, name in self._traits.items():
            holds = z3.is_true(model.eval(z3.Bool(name, context), model_completion=True))
            shown.append(f"{trait.subject} is {'' if holds else 'not '}{trait.trait}")
        more = [f"and {len(shown) - MAX_SHOWN} more"] if len(shown) > MAX_SHOWN else []
        return ", ".join([*shown[:MAX_SHOWN], *more])

    def _asserted(self, clause: Clause) -> str:
        return f"(assert (or {' '.join(self._formula(atom) for atom in sorted(clause, key=repr))}))"

    def _formula(self, atom: Atom) -> str:
        if isinstance(atom, Relation):
            return self._comparison(atom)
        name = self._traits.setdefault(
            Trait(atom.subject, atom.trait, True), f"p{len(self._traits)}"
        )
        return name if atom.holds else f"(not {name})"

    def _comparison(self, relation: Relation) -> str:
        self.numbers.update(dict.fromkeys(name for name, _ in relation.terms))
        terms = " ".join(f"(* {_rational(factor)} {name})" for name, factor in relation.terms)
        sign = "distinct" if relation.sign == "!=" else relation.sign
        return f"({sign} (+ 0.0 {terms}) {_rational(relation.number)})"


def _rational(number: Fraction) -> str:
    positive = f"(/ {abs(number.numerator)}.0 {number.denominator}.0)"
    return f"(- {positive})" if number < 0 else positive


def _context() -> Any:
    if not hasattr(_OF_THREAD, "context"):
        _OF_THREAD.context = z3.Context()
    return _OF_THREAD.context


def _people(clauses: Collection[Clause]) -> Sequence[str]:
    return sorted(
        {
            atom.subject
            for clause in clauses
            for atom in clause
            if isinstance(atom, Trait) and atom.subject
        }
    )


def _grounded(clauses: Collection[Clause]) -> Iterable[Clause]:
    """Clauses about anyone become clauses about each person there is."""
    people = _people(clauses) or [SOMEONE]
    for clause in clauses:
        about_anyone = any(isinstance(atom, Trait) and not atom.subject for atom in clause)
        yield from (_of(clause, name) for name in people) if about_anyone else [clause]


def _of(clause: Clause, name: str) -> Clause:
    """The clause about one person where it is about anyone."""
    return frozenset(
        atom._replace(subject=name) if isinstance(atom, Trait) and not atom.subject else atom
        for atom in clause
    )


def _number(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_DIGITS else "a number too long to show"
