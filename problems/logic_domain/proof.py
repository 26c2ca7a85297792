"""Gold steps: forward chaining over the clauses of a problem, cut down to what a goal rests on.

A clause of which all literals but one are known to be false yields that one. This covers rules applied forwards, rules applied to the
opposite of what they conclude (modus tollens) and disjunctions of which the other sides are excluded; it does not cover case
distinctions, so what it does not derive may still follow.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from problems.logic_domain.language import World, read, step_line, write_literal
from problems.logic_domain.models import Literal, ground, negated

__all__ = ["Derivation", "derivations", "needed", "solution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """A literal, the literals that it is derived from, and the sentence that leads from them to it; a given one is its sentence."""

    literal: Literal
    premises: tuple[Literal, ...]
    sentence: str

    @property
    def is_given(self) -> bool:
        """Whether the sentence states the literal."""
        return not self.premises


def derivations(given: Sequence[str]) -> Mapping[Literal, Derivation]:
    """All that forward chaining finds, each literal by a shortest chain, in the order in which it is found."""
    names = {
        literal.subject
        for sentence in given
        for clause in read(sentence) or ()
        for literal in clause
        if literal.subject
    }
    rules = [
        (sentence, clause)
        for sentence in given
        for clause in sorted(ground(read(sentence) or (), sorted(names)), key=sorted)
    ]
    found: dict[Literal, Derivation] = {}
    while new := {
        d.literal: d
        for sentence, clause in reversed(rules)
        if (d := _derive(found, sentence, clause)) is not None
    }:
        found.update(reversed(new.items()))
    return found


def _derive(
    found: Collection[Literal], sentence: str, clause: Iterable[Literal]
) -> Derivation | None:
    ordered = sorted(clause)
    left = [literal for literal in ordered if negated(literal) not in found]
    if len(left) != 1 or left[0] in found:
        return None
    return Derivation(
        literal=left[0],
        premises=tuple(negated(literal) for literal in ordered if literal != left[0]),
        sentence=sentence,
    )


def needed(found: Mapping[Literal, Derivation], goals: Iterable[Literal]) -> Sequence[Derivation]:
    """The derivations that the goals rest on, each after those that it rests on itself; given ones left out."""
    open_, wanted = list(goals), set[Literal]()
    while open_:
        literal = open_.pop()
        if literal not in wanted:
            wanted.add(literal)
            open_.extend(found[literal].premises)
    return [
        derivation
        for literal, derivation in found.items()
        if literal in wanted and not derivation.is_given
    ]


def solution(world: World, goals: Iterable[Literal]) -> Sequence[str]:
    """The gold lines: what the goals rest on, step by step, and the answer."""
    found = derivations(world.given)
    lines = [
        step_line(_premises(found, derivation), write_literal(derivation.literal), number)
        for number, derivation in enumerate(needed(found, goals), start=1)
    ]
    return [*lines, f"The answer is {world.answer}."]


def _premises(found: Mapping[Literal, Derivation], derivation: Derivation) -> Sequence[str]:
    """Given premises in the words of the problem, each once, the rule last."""
    stated = (
        found[literal].sentence if found[literal].is_given else write_literal(literal)
        for literal in derivation.premises
    )
    return list(dict.fromkeys((*stated, derivation.sentence)))
