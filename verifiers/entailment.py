"""Whether a step of a small closed language follows: its premises and the opposite of its conclusion, given to z3.

Decided are steps such as `x > 3 and y = x + 2, therefore y > 5` and `Step 1: Ana is kind; everyone who is kind is tall; therefore, Ana is
tall.`, and the last line `The answer is true.` of a puzzle (see `_entailment.statements` for the language, and `problems/logic.py` for a
source).

Correct: every premise restates one sentence of the problem, or one conclusion of an earlier step that is correct itself, and no model of
the premises lacks the conclusion. Where the problem is empty, the premises are taken as given.

Incorrect, with a countermodel: in a puzzle ("Is the hypothesis true, false or unprovable?"), when a premise does not follow from the
problem, when the conclusion does not follow from the premises that the step names, or when another answer holds. Elsewhere people leave
premises out, assume cases, and use words that mean something; there a step is incorrect only when it compares numbers, all that stands
before it was read, and its conclusion does not follow from all of that and its premises either, whether the numbers are whole or not.

Unknown: everything else. A problem with a sentence that is not in the language, as all ordinary ones have; a step that is not; names or
traits that the problem does not have; a premise that follows but was not shown; an answer without proof; givens that contradict each
other; what z3 does not decide within its limits.

What is not covered: "some", "exists", relations between people, products of variables, kinds of numbers other than real and whole, proofs
by contradiction and by cases.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.base import Claim, Finding, StepClaim
from verifiers.entailment_logic.countermodels import contradict, countermodel, follow
from verifiers.entailment_logic.statements import (
    Answer,
    Atom,
    Clause,
    Problem,
    Step,
    Trait,
    negated,
    read_problem,
    read_step,
)

__all__ = ["Entailment"]

MAX_STEPS = 200
CORRECT, INCORRECT, UNKNOWN = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Entailment:
    """Decides steps of a closed language of facts, rules and linear comparisons; silent on everything else."""

    version: ClassVar[int] = 1
    proves: ClassVar[bool] = True

    def verify(self, claim: Claim) -> Finding:
        """Correct says from how many premises; incorrect shows a countermodel, or the answer that holds."""
        if not isinstance(claim, StepClaim):
            return _unknown("not a step")
        step = read_step(claim.step)
        if step is None:
            return _unknown("not a step of the language")
        problem = read_problem(claim.question)
        if problem is None:
            return _unknown("the problem is not in the language")
        if len(claim.previous) > MAX_STEPS:
            return _unknown("too many steps")
        if contradict(problem.given):
            return _unknown("the problem contradicts itself, or may")
        return _judge(_before(problem, claim.previous), step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """The problem, what is known when a step begins, and whether every step before it was read."""

    problem: Problem
    known: tuple[Clause, ...]
    whole: bool = True

    @property
    def is_open(self) -> bool:
        """Whether nothing is given, so that a step's premises count as given."""
        return not self.problem.given and not self.problem.is_puzzle


def _before(problem: Problem, previous: Iterable[str]) -> _Context:
    context = _Context(problem=problem, known=problem.given)
    for text in previous:
        step = read_step(text)
        if step is None:
            context = replace(context, whole=False)
        elif isinstance(step, Step) and _judge(context, step).verdict is CORRECT:
            assumed = step.premises if context.is_open else ()
            context = replace(
                context, known=tuple(dict.fromkeys((*context.known, *assumed, *step.conclusion)))
            )
    return context


def _judge(context: _Context, step: Step | Answer) -> Finding:
    if isinstance(step, Answer):
        return _judge_answer(context, step.answer)
    if not context.is_open and not _speaks_of(context.problem, (*step.premises, *step.conclusion)):
        return _unknown("a name or a trait that the problem does not have")
    unshown = (
        ()
        if context.is_open
        else tuple(clause for clause in step.premises if not _is_shown(context, clause))
    )
    if context.problem.is_puzzle:
        given = context.problem.given
        if follow(given, unshown).verdict is INCORRECT:
            return Finding(
                verdict=INCORRECT,
                reason=f"a premise does not follow from the problem: {countermodel(given, unshown)}",
            )
    found = follow(step.premises, step.conclusion)
    if found.verdict is INCORRECT:
        return _not_following(context, step)
    if found.verdict is UNKNOWN:
        return _unknown(found.reason)
    if unshown:
        return _unknown("a premise was neither given nor shown")
    if context.is_open and contradict(step.premises):
        return _unknown("the premises contradict each other, or may")
    return Finding(verdict=CORRECT, reason=f"follows from {len(step.premises)} premises")


def _not_following(context: _Context, step: Step) -> Finding:
    """Outside a puzzle, what is not said may be meant."""
    premises = step.premises
    if not context.problem.is_puzzle:
        if any(isinstance(atom, Trait) for atom in _atoms((*step.premises, *step.conclusion))):
            return _unknown("does not follow, unless from what the words mean")
        if not context.whole:
            return _unknown("does not follow, unless from a step that is not in the language")
        premises = (*context.known, *step.premises)
        found = follow(premises, step.conclusion)
        if found.verdict is not INCORRECT:
            return _unknown(found.reason or "follows from more than the step names")
    return Finding(
        verdict=INCORRECT, reason=f"does not follow: {countermodel(premises, step.conclusion)}"
    )


def _judge_answer(context: _Context, answer: str) -> Finding:
    """Incorrect when another answer holds; "true" and "false" are correct when shown."""
    problem = context.problem
    if not problem.is_puzzle:
        return _unknown("no hypothesis")
    follows = follow(problem.given, problem.hypothesis)
    opposite = tuple(frozenset([negated(atom)]) for atom in _literal(problem))
    refuted = follow(problem.given, opposite)
    if not opposite or UNKNOWN in (follows.verdict, refuted.verdict):
        return _unknown("the hypothesis was not decided")
    true = (
        "true"
        if follows.verdict is CORRECT
        else "false"
        if refuted.verdict is CORRECT
        else "unprovable"
    )
    if answer != true:
        return Finding(verdict=INCORRECT, reason=f"the hypothesis is {true}")
    shown = {"true": problem.hypothesis, "false": opposite, "unprovable": ()}[answer]
    if not all(_is_shown(context, clause) for clause in shown):
        return _unknown("the answer was not shown")
    return Finding(verdict=CORRECT, reason=f"the hypothesis is {true}")


def _literal(problem: Problem) -> Iterable[Atom]:
    """The hypothesis, when it is a single claim about somebody named or about numbers."""
    atoms = _atoms(problem.hypothesis)
    single = len(atoms) == 1 and not any(
        isinstance(atom, Trait) and not atom.subject for atom in atoms
    )
    return atoms if single else ()


def _is_shown(context: _Context, clause: Clause) -> bool:
    """Whether one thing that is known says as much, in whatever words."""
    if clause in context.known:
        return True
    # What alone leads to the clause speaks of nothing that the clause does not speak of.
    near = ((one,) for one in context.known if _words(one) <= _words(clause))
    return any(follow(grounds, (clause,)).verdict is CORRECT for grounds in ((), *near))


def _speaks_of(problem: Problem, clauses: Iterable[Clause]) -> bool:
    """Whether all names, traits and variables are the problem's."""
    said = frozenset[str]().union(*map(_words, (*problem.given, *problem.hypothesis)))
    return all(_words(clause) <= said for clause in clauses)


@lru_cache(maxsize=4096)
def _words(clause: Clause) -> frozenset[str]:
    """Names are capitalised, variables have one letter, traits have more: they cannot be taken for one another."""
    return frozenset(word for atom in clause for word in _words_of(atom) if word)


def _words_of(atom: Atom) -> Iterable[str]:
    return (
        (atom.subject, atom.trait) if isinstance(atom, Trait) else (name for name, _ in atom.terms)
    )


def _atoms(clauses: Iterable[Clause]) -> list[Atom]:
    return [atom for clause in clauses for atom in clause]


def _unknown(reason: str) -> Finding:
    return Finding(verdict=UNKNOWN, reason=reason)
