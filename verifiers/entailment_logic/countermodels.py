"""Proofs and countermodels by z3: clauses entail a clause if no model of them makes it false.

A clause about anyone is instantiated for every named person. A conclusion about anyone is
instantiated for one further person. The language has no functions and no existential statements,
so other persons cannot make a difference.

Variables may be real numbers or integers; a text rarely states which. "Does not follow" is
therefore returned only if there is a countermodel in which every number is an integer that the
premises allow to be one, or if the premises refute the conclusion.

Every query uses a new solver. Each thread has its own z3 context, because z3 crashes when
threads share one. A countermodel is computed in a new context, so that it does not depend on
earlier queries.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import z3

from stepmark.records import Verdict
from verifiers.entailment_logic.linear import LinearRelation
from verifiers.entailment_logic.statements import Atom, Clause, Trait, negate

__all__ = ["ProofResult", "find_countermodel", "may_contradict", "prove"]

TIMEOUT_MS = 1_000
# z3's own count of its work; a query of this language needs some thousands. Unlike a time limit, it
# ends a hard query at the same point on every machine.
RESOURCE_LIMIT = 2_000_000
MAX_FACTS_IN_REASON = 12
MAX_NUMBER_CHARS = 20
# The further person; names of the language are capitalised, so it cannot be one of them.
SOMEONE = "someone"
_PER_THREAD = threading.local()


@dataclass(frozen=True, slots=True)
class ProofResult:
    """Correct if the conclusion follows, incorrect if there is a countermodel, else unknown.

    `reason` is the cause of an unknown, or the countermodel if one was requested.
    """

    verdict: Verdict
    reason: str = ""


@lru_cache(maxsize=4096)
def prove(premises: tuple[Clause, ...], conclusion: tuple[Clause, ...]) -> ProofResult:
    """Return whether all clauses of the conclusion follow from the premises.

    The result is that of the first clause that does not follow.
    """
    for clause in conclusion:
        result = _prove_clause(_thread_context(), premises, clause)
        if result.verdict is not Verdict.CORRECT:
            return result
    return ProofResult(Verdict.CORRECT)


@lru_cache(maxsize=1024)
def find_countermodel(premises: tuple[Clause, ...], conclusion: tuple[Clause, ...]) -> str:
    """Return a model of the premises in which the conclusion is false: "x = 4, Ana is not tall".

    The text is empty if there is none.
    """
    for clause in conclusion:
        result = _prove_clause(z3.Context(), premises, clause, describe=True)
        if result.verdict is Verdict.INCORRECT:
            return result.reason
    return ""


@lru_cache(maxsize=256)
def may_contradict(clauses: tuple[Clause, ...]) -> bool:
    """Return whether the clauses have no model, or none was found within the limits."""
    return bool(clauses) and _ModelSearch(_thread_context(), clauses).check() != z3.sat


def _prove_clause(
    context: Any, premises: Sequence[Clause], conclusion: Clause, *, describe: bool = False
) -> ProofResult:
    # Sorted, because the countermodel depends on the order in which z3 receives the clauses.
    denied = sorted(_instantiate(conclusion, SOMEONE), key=repr)
    denials = [frozenset([negate(atom)]) for atom in denied]
    search = _ModelSearch(context, [*denials, *premises])
    status = search.check()
    if status == z3.unsat:
        return ProofResult(Verdict.CORRECT)
    if status != z3.sat:
        return ProofResult(Verdict.UNKNOWN, "not decided in time")
    model = search.describe_model() if describe else ""
    possible_integers = list[str]()
    for name in sorted(search.variables):
        if _ModelSearch(context, premises).check([name]) != z3.unsat:
            possible_integers.append(name)
    if not possible_integers:
        return ProofResult(Verdict.INCORRECT, model)
    if search.check(possible_integers) == z3.sat:
        if describe:
            model = search.describe_model()
        return ProofResult(Verdict.INCORRECT, model)
    if _ModelSearch(context, [*premises, conclusion]).check() != z3.unsat:
        return ProofResult(Verdict.UNKNOWN, "may depend on numbers being whole")
    return ProofResult(Verdict.INCORRECT, model)


class _ModelSearch:
    """A search for persons and numbers that satisfy clauses.

    z3 receives the clauses as SMT-LIB text. Traits get generated names, so that no text of a
    problem is interpreted as SMT-LIB.
    """

    def __init__(self, context: Any, clauses: Sequence[Clause]) -> None:
        self._solver = z3.SimpleSolver(ctx=context)
        self._solver.set(timeout=TIMEOUT_MS, rlimit=RESOURCE_LIMIT, random_seed=0)
        self._traits: dict[Trait, str] = {}
        # A dictionary without values, because it keeps the order of insertion.
        self.variables: dict[str, None] = {}
        assertions = [self._assertion(clause) for clause in _instantiate_all(clauses)]
        declarations = list[str]()
        for name in self._traits.values():
            declarations.append(f"(declare-const {name} Bool)")
        for name in self.variables:
            declarations.append(f"(declare-const {name} Real)")
        self._solver.from_string("".join((*declarations, *assertions)))

    def check(self, integers: Iterable[str] = ()) -> Any:
        """Return z3's sat, unsat or unknown, with the named variables restricted to integers."""
        context = self._solver.ctx
        assumptions = list[Any]()
        for name in integers:
            if name in self.variables:
                assumptions.append(z3.IsInt(z3.Real(name, context)))
        return self._solver.check(assumptions)

    def describe_model(self) -> str:
        """Return the model of the last check as a list of facts."""
        model = self._solver.model()
        context = self._solver.ctx
        facts = list[str]()
        for name in sorted(self.variables):
            value = model.eval(z3.Real(name, context), model_completion=True)
            facts.append(f"{name} = {_format_number(value)}")
        for trait, name in self._traits.items():
            value = model.eval(z3.Bool(name, context), model_completion=True)
            negation = "" if z3.is_true(value) else "not "
            facts.append(f"{trait.subject} is {negation}{trait.trait}")
        if len(facts) > MAX_FACTS_IN_REASON:
            omitted = len(facts) - MAX_FACTS_IN_REASON
            facts = [*facts[:MAX_FACTS_IN_REASON], f"and {omitted} more"]
        return ", ".join(facts)

    def _assertion(self, clause: Clause) -> str:
        formulas = [self._formula(atom) for atom in sorted(clause, key=repr)]
        return f"(assert (or {' '.join(formulas)}))"

    def _formula(self, atom: Atom) -> str:
        if isinstance(atom, LinearRelation):
            return self._comparison(atom)
        positive = Trait(atom.subject, atom.trait, True)
        name = self._traits.setdefault(positive, f"p{len(self._traits)}")
        if atom.holds:
            return name
        return f"(not {name})"

    def _comparison(self, relation: LinearRelation) -> str:
        terms = list[str]()
        for name, coefficient in relation.terms:
            self.variables[name] = None
            terms.append(f"(* {_smt_number(coefficient)} {name})")
        sign = "distinct" if relation.sign == "!=" else relation.sign
        # 0.0 keeps the sum valid when there are no terms.
        return f"({sign} (+ 0.0 {' '.join(terms)}) {_smt_number(relation.number)})"


def _smt_number(number: Fraction) -> str:
    """Return a rational number in SMT-LIB, which has no negative literals."""
    positive = f"(/ {abs(number.numerator)}.0 {number.denominator}.0)"
    if number < 0:
        return f"(- {positive})"
    return positive


def _thread_context() -> Any:
    if not hasattr(_PER_THREAD, "context"):
        _PER_THREAD.context = z3.Context()
    return _PER_THREAD.context


def _people(clauses: Collection[Clause]) -> Sequence[str]:
    people = set[str]()
    for clause in clauses:
        for atom in clause:
            if isinstance(atom, Trait) and atom.subject:
                people.add(atom.subject)
    return sorted(people)


def _instantiate_all(clauses: Collection[Clause]) -> Iterable[Clause]:
    """Yield the clauses, with those about anyone replaced by one clause per person."""
    people = _people(clauses) or [SOMEONE]
    for clause in clauses:
        if any(isinstance(atom, Trait) and not atom.subject for atom in clause):
            for name in people:
                yield _instantiate(clause, name)
        else:
            yield clause


def _instantiate(clause: Clause, name: str) -> Clause:
    """Return the clause with atoms about anyone replaced by atoms about one person."""
    atoms = list[Atom]()
    for atom in clause:
        if isinstance(atom, Trait) and not atom.subject:
            atoms.append(atom._replace(subject=name))
        else:
            atoms.append(atom)
    return frozenset(atoms)


def _format_number(value: Any) -> str:
    text = str(value)
    if len(text) > MAX_NUMBER_CHARS:
        return "a number too long to show"
    return text
