"""Inject one mistake at a known step of a gold solution of a deduction problem.

The step becomes INCORRECT, and no step before it is. The kinds:

    negated              the conclusion is negated
    other_trait          the conclusion is about another trait and does not follow from the problem
    other_person         the conclusion is about another person and does not follow either
    left_out             a premise that the conclusion needs is not named
    condition_dropped    a rule is stated, and used, without one of its conditions
    invented             a rule is used on a condition that is false or not known
    backwards            a condition is concluded from the conclusion of a rule; it does not follow
    answer               the answer is wrong

Later steps stay unchanged. Those that depend on the corrupted conclusion become UNKNOWN: their
premise still follows from the problem, but was not derived before.

No source of problems uses these solutions: tests compare the oracle and `verifiers.entailment`
on them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

from problems.logic_domain.language import (
    ANSWERS,
    LogicWorld,
    judge_lines,
    parse_statement,
    parse_step,
    step_line,
    write_literal,
    write_rule,
)
from problems.logic_domain.models import Clause, Literal, follows, ground, names_in, negated
from stepmark.records import Verdict

__all__ = ["KINDS", "with_injected_mistake"]


class _GoldStep(NamedTuple):
    """A gold step: its premises as written, the rule last, and its conclusion."""

    premises: Sequence[str]
    conclusion: Literal


def with_injected_mistake(
    world: LogicWorld, gold: Sequence[str], position: int, kind: str, random: Random
) -> Sequence[str] | None:
    """Return the gold lines with a mistake of a kind at a position (0-based).

    Returns None where that kind of mistake is impossible.
    """
    for line in KINDS[kind](world, gold, position, random):
        lines = [*gold[:position], line, *gold[position + 1 :]]
        # A candidate can be correct by accident; the next one is tried then.
        verdict, _ = judge_lines(world, lines)[position]
        if verdict is Verdict.INCORRECT:
            return lines
    return None


def _gold_step(line: str) -> _GoldStep | None:
    """Return the parts of a gold step, or None for the answer."""
    step = parse_step(line)
    if step is None:
        return None
    ((conclusion,),) = step.conclusion
    _, _, statements = line.partition(": ")
    premises, _, _ = statements.partition("; therefore, ")
    return _GoldStep(premises.split("; "), conclusion)


def _shuffled(items: Iterable[str], random: Random) -> Sequence[str]:
    shuffled = list(items)
    random.shuffle(shuffled)
    return shuffled


# Each function yields candidates for the corrupted line.


def _negated(
    _world: LogicWorld, gold: Sequence[str], position: int, _random: Random
) -> Iterator[str]:
    step = _gold_step(gold[position])
    if step:
        yield step_line(step.premises, write_literal(negated(step.conclusion)), position + 1)


def _other_trait(
    world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    step = _gold_step(gold[position])
    if step is None:
        return
    traits: set[str] = set()
    for clause in world.clauses:
        traits.update(literal.trait for literal in clause)
    for trait in _shuffled(sorted(traits), random):
        conclusion = step.conclusion._replace(trait=trait)
        if not _holds(world, conclusion):
            yield step_line(step.premises, write_literal(conclusion), position + 1)


def _other_person(
    world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    step = _gold_step(gold[position])
    if step is None:
        return
    for name in _shuffled(sorted(names_in(world.clauses)), random):
        conclusion = step.conclusion._replace(subject=name)
        if not _holds(world, conclusion):
            yield step_line(step.premises, write_literal(conclusion), position + 1)


def _left_out(
    _world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    step = _gold_step(gold[position])
    # A step without any premise is not in the language.
    if step is None or len(step.premises) < 2:
        return
    for dropped in _shuffled(step.premises, random):
        premises = [premise for premise in step.premises if premise != dropped]
        yield step_line(premises, write_literal(step.conclusion), position + 1)


def _condition_dropped(
    _world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    """Drop a condition of a rule about everyone.

    Rules about named people are not covered: without a condition they can still be true, namely
    where the conclusion holds anyway.
    """
    step = _gold_step(gold[position])
    if step is None:
        return
    (rule,) = parse_statement(step.premises[-1]) or frozenset()
    head = step.conclusion._replace(subject=None)
    conditions = [negated(literal) for literal in sorted(rule - {head})]
    if head in rule and len(conditions) > 1:
        remaining = random.sample(conditions, len(conditions) - 1)
        premises = [*step.premises[:-1], write_rule(remaining, head)]
        yield step_line(premises, write_literal(step.conclusion), position + 1)


def _invented(
    world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    if _gold_step(gold[position]) is None:
        return
    for sentence, clause in _ground_rules(world, random):
        head = random.choice(sorted(clause))
        conditions = [negated(literal) for literal in sorted(clause) if literal != head]
        if not all(_holds(world, condition) for condition in conditions):
            premises = [*map(write_literal, conditions), sentence]
            yield step_line(premises, write_literal(head), position + 1)


def _backwards(
    world: LogicWorld, gold: Sequence[str], position: int, random: Random
) -> Iterator[str]:
    """Use a rule as its own converse: conclude one of its conditions from its conclusion."""
    if _gold_step(gold[position]) is None:
        return
    accepted = set(world.clauses)
    for line in gold[:position]:
        step = parse_step(line)
        if step:
            accepted |= step.conclusion
    for sentence, clause in _ground_rules(world, random):
        for head in sorted(clause):
            conditions = [negated(literal) for literal in sorted(clause) if literal != head]
            # Drawn for every head, used or not: the random stream is part of the result.
            condition = random.choice(conditions)
            if frozenset([head]) in accepted and not _holds(world, condition):
                premises = [write_literal(head), sentence]
                yield step_line(premises, write_literal(condition), position + 1)


def _answer(world: LogicWorld, gold: Sequence[str], position: int, random: Random) -> Iterator[str]:
    if position != len(gold) - 1:
        return
    for answer in random.sample(ANSWERS, len(ANSWERS)):
        if answer != world.answer:
            yield f"The answer is {answer}."


def _holds(world: LogicWorld, literal: Literal) -> bool:
    return follows(world.clauses, frozenset([literal]))


def _ground_rules(world: LogicWorld, random: Random) -> Iterator[tuple[str, Clause]]:
    """Yield every rule of the problem for every person, sentences in random order."""
    names = sorted(names_in(world.clauses))
    for sentence in _shuffled(world.given, random):
        for clause in sorted(ground(parse_statement(sentence) or (), names), key=sorted):
            # A clause of one literal is a fact.
            if len(clause) > 1:
                yield sentence, clause


KINDS: Mapping[str, Callable[[LogicWorld, Sequence[str], int, Random], Iterator[str]]] = {
    "negated": _negated,
    "other_trait": _other_trait,
    "other_person": _other_person,
    "left_out": _left_out,
    "condition_dropped": _condition_dropped,
    "invented": _invented,
    "backwards": _backwards,
    "answer": _answer,
}
