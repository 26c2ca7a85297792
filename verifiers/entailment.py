"""Steps of a small formal language, checked by z3: do the premises entail the conclusion?

Examples are `x > 3 and y = x + 2, therefore y > 5`, `Step 1: Ana is kind; everyone who is kind is
tall; therefore, Ana is tall.`, and `The answer is true.`, the last line of a solution to a puzzle.
See `entailment_logic.statements` for the language, and `problems.sources.logic` for such problems.

Correct: every premise restates one sentence of the problem, or one conclusion of an earlier correct
step, and no model of the premises makes the conclusion false. If the problem is empty, the premises
are taken as given.

Incorrect, with a countermodel:

- In a puzzle ("Is the hypothesis true, false or unprovable?"): a premise does not follow from the
  problem, the conclusion does not follow from the premises of the step, or another answer holds.
- Elsewhere authors omit premises, assume cases, and use words that have a meaning. There a step is
  incorrect only if it compares numbers, everything before it could be parsed, and its conclusion
  does not follow from all of that together with its premises, whether or not the numbers are
  integers.

Unknown in all other cases:

- The step, or any sentence of the problem, is not in the language. That includes ordinary problems.
- The step uses names or traits that the problem does not contain.
- A premise follows but was not shown, or an answer has no proof.
- The facts of the problem contradict each other.
- z3 does not decide within its limits.

What is not covered:

- "some" and "exists", and relations between persons.
- Products of variables, and numbers other than reals and integers.
- Proofs by contradiction and by cases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.base import Claim, Finding, StepClaim
from verifiers.entailment_logic.countermodels import find_countermodel, may_contradict, prove
from verifiers.entailment_logic.statements import (
    Atom,
    Clause,
    LogicAnswer,
    LogicProblem,
    LogicStep,
    Trait,
    negate,
    parse_problem,
    parse_step,
)

__all__ = ["Entailment"]

# Every earlier step is decided too, so the time of a claim grows with their number.
MAX_STEPS = 200
CORRECT = Verdict.CORRECT
INCORRECT = Verdict.INCORRECT
UNKNOWN = Verdict.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Entailment:
    """Proves or refutes steps of a language of facts, rules and linear comparisons.

    It abstains on all other steps.
    """

    version: ClassVar[int] = 1
    proves: ClassVar[bool] = True
    context_steps: ClassVar[int] = MAX_STEPS

    def verify(self, claim: Claim) -> Finding:
        """Decide a step.

        The reason of a correct verdict is the number of premises. The reason of an incorrect
        verdict is a countermodel, or the answer that holds.
        """
        if not isinstance(claim, StepClaim):
            return _unknown("not a step")
        step = parse_step(claim.step)
        if step is None:
            return _unknown("not a step of the language")
        problem = parse_problem(claim.question)
        if problem is None:
            return _unknown("the problem is not in the language")
        if claim.omitted > 0 or len(claim.previous) > MAX_STEPS:
            return _unknown("too many steps")
        if may_contradict(problem.facts):
            return _unknown("the problem contradicts itself, or may")
        return _verify_step(_context_of(problem, claim.previous), step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProofContext:
    """The problem and the clauses established before a step."""

    problem: LogicProblem
    established: tuple[Clause, ...]
    is_complete: bool = True
    """Whether every earlier step could be parsed."""

    @property
    def is_open(self) -> bool:
        """Whether the problem gives nothing, so that the premises of steps count as given."""
        return not self.problem.facts and not self.problem.is_puzzle


def _context_of(problem: LogicProblem, previous: Iterable[str]) -> _ProofContext:
    """Return the context after the previous steps. Only correct steps establish clauses."""
    context = _ProofContext(problem=problem, established=problem.facts)
    for text in previous:
        step = parse_step(text)
        if step is None:
            context = replace(context, is_complete=False)
            continue
        if isinstance(step, LogicAnswer) or _verify_step(context, step).verdict is not CORRECT:
            continue
        clauses = list(context.established)
        if context.is_open:
            clauses += step.premises
        clauses += step.conclusion
        # Each clause once, in order of appearance.
        context = replace(context, established=tuple(dict.fromkeys(clauses)))
    return context


def _verify_step(context: _ProofContext, step: LogicStep | LogicAnswer) -> Finding:
    if isinstance(step, LogicAnswer):
        return _verify_answer(context, step.answer)
    statements = (*step.premises, *step.conclusion)
    if not context.is_open and not _uses_known_words(context.problem, statements):
        return _unknown("a name or a trait that the problem does not have")
    unproven = _unproven_premises(context, step)
    facts = context.problem.facts
    if context.problem.is_puzzle and prove(facts, unproven).verdict is INCORRECT:
        countermodel = find_countermodel(facts, unproven)
        reason = f"a premise does not follow from the problem: {countermodel}"
        return Finding(verdict=INCORRECT, reason=reason, rule="premise")
    result = prove(step.premises, step.conclusion)
    if result.verdict is INCORRECT:
        return _refute(context, step)
    if result.verdict is UNKNOWN:
        return _unknown(result.reason)
    if unproven:
        return _unknown("a premise was neither given nor shown")
    if context.is_open and may_contradict(step.premises):
        return _unknown("the premises contradict each other, or may")
    return Finding(verdict=CORRECT, reason=f"follows from {len(step.premises)} premises")


def _unproven_premises(context: _ProofContext, step: LogicStep) -> tuple[Clause, ...]:
    if context.is_open:
        return ()
    return tuple(clause for clause in step.premises if not _is_shown(context, clause))


def _refute(context: _ProofContext, step: LogicStep) -> Finding:
    """Return the finding on a step whose conclusion does not follow from its premises.

    Outside a puzzle the author may have meant more than the step states.
    """
    premises = step.premises
    if not context.problem.is_puzzle:
        atoms = _atoms((*step.premises, *step.conclusion))
        if any(isinstance(atom, Trait) for atom in atoms):
            return _unknown("does not follow, unless from what the words mean")
        if not context.is_complete:
            return _unknown("does not follow, unless from a step that is not in the language")
        premises = (*context.established, *step.premises)
        result = prove(premises, step.conclusion)
        if result.verdict is not INCORRECT:
            return _unknown(result.reason or "follows from more than the step names")
    countermodel = find_countermodel(premises, step.conclusion)
    return Finding(verdict=INCORRECT, reason=f"does not follow: {countermodel}", rule="conclusion")


def _verify_answer(context: _ProofContext, answer: str) -> Finding:
    """Decide an answer. It is incorrect if another one holds, and correct only if it was shown."""
    problem = context.problem
    if not problem.is_puzzle:
        return _unknown("no hypothesis")
    negation = tuple(frozenset([negate(atom)]) for atom in _literal(problem))
    proof = prove(problem.facts, problem.hypothesis).verdict
    refutation = prove(problem.facts, negation).verdict
    # The negation of a hypothesis that is not a literal cannot be expressed.
    if not negation or UNKNOWN in (proof, refutation):
        return _unknown("the hypothesis was not decided")
    # "Unprovable" needs no steps that show it.
    expected = "unprovable"
    required = tuple[Clause, ...]()
    if proof is CORRECT:
        expected = "true"
        required = problem.hypothesis
    elif refutation is CORRECT:
        expected = "false"
        required = negation
    if answer != expected:
        return Finding(verdict=INCORRECT, reason=f"the hypothesis is {expected}", rule="answer")
    if not all(_is_shown(context, clause) for clause in required):
        return _unknown("the answer was not shown")
    return Finding(verdict=CORRECT, reason=f"the hypothesis is {expected}")


def _literal(problem: LogicProblem) -> Sequence[Atom]:
    """Return the hypothesis if it is a single atom about a named person or numbers, else none."""
    atoms = _atoms(problem.hypothesis)
    if len(atoms) != 1:
        return ()
    (atom,) = atoms
    if isinstance(atom, Trait) and not atom.subject:
        return ()
    return atoms


def _is_shown(context: _ProofContext, clause: Clause) -> bool:
    """Return whether the clause holds always, or a single established clause entails it."""
    if clause in context.established or prove((), (clause,)).verdict is CORRECT:
        return True
    for established in context.established:
        # A clause that entails another one on its own has no words that the other does not have.
        if not _words(established) <= _words(clause):
            continue
        if prove((established,), (clause,)).verdict is CORRECT:
            return True
    return False


def _uses_known_words(problem: LogicProblem, clauses: Iterable[Clause]) -> bool:
    """Return whether all names, traits and variables of the clauses occur in the problem."""
    known_words = set[str]()
    for clause in (*problem.facts, *problem.hypothesis):
        known_words |= _words(clause)
    return all(_words(clause) <= known_words for clause in clauses)


@lru_cache(maxsize=4096)
def _words(clause: Clause) -> frozenset[str]:
    """Return the names, traits and variables of a clause.

    They cannot be confused: names are capitalised, variables have one letter, traits have more.
    """
    words = set[str]()
    for atom in clause:
        if isinstance(atom, Trait):
            words |= {atom.subject, atom.trait}
        else:
            words |= {name for name, _ in atom.terms}
    # The subject of a clause about anyone is empty.
    return frozenset(words - {""})


def _atoms(clauses: Iterable[Clause]) -> list[Atom]:
    atoms = list[Atom]()
    for clause in clauses:
        atoms += clause
    return atoms


def _unknown(reason: str) -> Finding:
    return Finding(verdict=UNKNOWN, reason=reason)
