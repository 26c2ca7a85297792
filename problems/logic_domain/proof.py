"""Gold steps by forward chaining over the clauses of a problem.

A clause of which all literals but one are known to be false yields that one. This covers rules that
are applied forwards, rules that are applied to the negation of their conclusion (modus tollens),
and disjunctions of which the other alternatives are excluded. It does not cover case distinctions,
so a literal that is not derived here may still follow.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from problems.logic_domain.language import LogicWorld, parse_statement, step_line, write_literal
from problems.logic_domain.models import Clause, Literal, ground, names_in, negated

__all__ = ["Derivation", "derivations", "needed", "solution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """A literal, the literals from which one sentence derives it, and that sentence.

    A literal that the problem states has no premises; its sentence is the statement.
    """

    literal: Literal
    premises: tuple[Literal, ...]
    sentence: str

    @property
    def is_given(self) -> bool:
        """Whether the sentence states the literal."""
        return not self.premises


def derivations(given: Sequence[str]) -> Mapping[Literal, Derivation]:
    """Return all literals that forward chaining derives from the statements.

    Each literal has a shortest chain. The mapping is in the order of derivation, so the premises of
    a literal come before it.
    """
    rules = _ground_rules(given)
    derived: dict[Literal, Derivation] = {}
    while True:
        # Of several rules for one literal the first is used; going backwards, it is the last to be
        # written. The literal keeps its position in the dictionary, that of the last such rule.
        # The order decides which gold steps come first, so it must not change.
        layer: dict[Literal, Derivation] = {}
        for sentence, clause in reversed(rules):
            derivation = _derive(derived, sentence, clause)
            if derivation is not None:
                layer[derivation.literal] = derivation
        if not layer:
            return derived
        derived.update(reversed(layer.items()))


def _ground_rules(given: Sequence[str]) -> Sequence[tuple[str, Clause]]:
    """Return the ground clauses of the statements, each with its sentence."""
    clauses_by_sentence = [(sentence, parse_statement(sentence) or ()) for sentence in given]
    names: set[str] = set()
    for _, clauses in clauses_by_sentence:
        names |= names_in(clauses)
    rules: list[tuple[str, Clause]] = []
    for sentence, clauses in clauses_by_sentence:
        # Sorted, because the order of a set of strings differs between processes.
        for clause in sorted(ground(clauses, sorted(names)), key=sorted):
            rules.append((sentence, clause))
    return rules


def _derive(
    derived: Collection[Literal], sentence: str, clause: Iterable[Literal]
) -> Derivation | None:
    """Return the derivation of the last open literal of a clause, or None if nothing is new."""
    ordered = sorted(clause)
    remaining = [literal for literal in ordered if negated(literal) not in derived]
    if len(remaining) != 1 or remaining[0] in derived:
        return None
    conclusion = remaining[0]
    premises = tuple(negated(literal) for literal in ordered if literal != conclusion)
    return Derivation(literal=conclusion, premises=premises, sentence=sentence)


def needed(derived: Mapping[Literal, Derivation], goals: Iterable[Literal]) -> Sequence[Derivation]:
    """Return the derivations on which the goals depend, without given literals.

    Each derivation comes after those on which it depends.
    """
    required: set[Literal] = set()
    pending = list(goals)
    while pending:
        literal = pending.pop()
        if literal not in required:
            required.add(literal)
            pending.extend(derived[literal].premises)
    steps: list[Derivation] = []
    for literal, derivation in derived.items():
        if literal in required and not derivation.is_given:
            steps.append(derivation)
    return steps


def solution(world: LogicWorld, goals: Iterable[Literal]) -> Sequence[str]:
    """Return the gold lines: the steps that derive the goals, and the answer."""
    derived = derivations(world.given)
    lines: list[str] = []
    for number, derivation in enumerate(needed(derived, goals), start=1):
        premises = _premises(derived, derivation)
        lines.append(step_line(premises, write_literal(derivation.literal), number))
    return [*lines, f"The answer is {world.answer}."]


def _premises(derived: Mapping[Literal, Derivation], derivation: Derivation) -> Sequence[str]:
    """Return the premises of a step without repetition, the rule last.

    Given literals are written as the sentence of the problem that states them.
    """
    statements: list[str] = []
    for literal in derivation.premises:
        if derived[literal].is_given:
            statements.append(derived[literal].sentence)
        else:
            statements.append(write_literal(literal))
    statements.append(derivation.sentence)
    return list(dict.fromkeys(statements))
