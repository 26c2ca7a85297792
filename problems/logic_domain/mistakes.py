"""Ways to spoil a gold solution of a deduction problem, so that it is wrong at a step that is known and nowhere before.

    negated              the conclusion turned round
    other_trait          the conclusion about another trait, which does not follow from the problem either
    other_person         the conclusion about another person, likewise
    left_out             a premise is not named that the conclusion needs
    condition_dropped    a rule told, and used, without one of its conditions
    invented             a rule used on what is not so, or not known
    backwards            from what a rule concludes to what it asks for, which does not follow from the problem either
    answer               the wrong answer

What stands after the spoilt step is left as it was: what leaned on its conclusion is unknown then, since it holds and was not shown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from problems.logic_domain.language import (
    ANSWERS,
    World,
    judge_lines,
    read,
    read_step,
    step_line,
    write_literal,
    write_rule,
)
from problems.logic_domain.models import Clause, Literal, follows, ground, negated
from stepmark.records import Verdict

__all__ = ["KINDS", "spoilt"]

Lines = Sequence[str]


def spoilt(
    world: World, gold: Lines, place: int, kind: str, random: Random
) -> Sequence[str] | None:
    """The gold lines with a mistake of a kind at a place (0-based); None where that kind of mistake cannot be made there."""
    for line in KINDS[kind](world, gold, place, random):
        lines = [*gold[:place], line, *gold[place + 1 :]]
        if judge_lines(world, lines)[place][0] is Verdict.INCORRECT:
            return lines
    return None


def _parts(line: str) -> tuple[Sequence[str], Literal] | None:
    """The premises of a gold step as written, and its conclusion; None for the answer."""
    step = read_step(line)
    if step is None:
        return None
    ((conclusion,),) = step.conclusion
    return line.partition(": ")[2].partition("; therefore, ")[0].split("; "), conclusion


def _shuffled(items: Iterator[str] | Sequence[str], random: Random) -> Sequence[str]:
    found = list(items)
    random.shuffle(found)
    return found


def _negated(_world: World, gold: Lines, place: int, _random: Random) -> Iterator[str]:
    if parts := _parts(gold[place]):
        yield step_line(parts[0], write_literal(negated(parts[1])), place + 1)


def _other_trait(world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    if parts := _parts(gold[place]):
        premises, conclusion = parts
        for trait in _shuffled(
            sorted({literal.trait for clause in world.clauses for literal in clause}), random
        ):
            if not _holds(world, wrong := conclusion._replace(trait=trait)):
                yield step_line(premises, write_literal(wrong), place + 1)


def _other_person(world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    if parts := _parts(gold[place]):
        premises, conclusion = parts
        for name in _shuffled(_names(world), random):
            if not _holds(world, wrong := conclusion._replace(subject=name)):
                yield step_line(premises, write_literal(wrong), place + 1)


def _left_out(_world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    if parts := _parts(gold[place]):
        premises, conclusion = parts
        for premise in _shuffled(premises if len(premises) > 1 else (), random):
            yield step_line(
                [other for other in premises if other != premise],
                write_literal(conclusion),
                place + 1,
            )


def _condition_dropped(_world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    """Only of rules about everyone: that Ana is kind or tall holds, rule or no rule, where she is tall."""
    if parts := _parts(gold[place]):
        premises, conclusion = parts
        (rule,) = read(premises[-1]) or frozenset()
        head = conclusion._replace(subject=None)
        conditions = [negated(literal) for literal in sorted(rule - {head})]
        if head in rule and len(conditions) > 1:
            kept = random.sample(conditions, len(conditions) - 1)
            yield step_line(
                [*premises[:-1], write_rule(kept, head)], write_literal(conclusion), place + 1
            )


def _invented(world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    if _parts(gold[place]):
        for sentence, clause in _used(world, random):
            head = random.choice(sorted(clause))
            conditions = [negated(literal) for literal in sorted(clause) if literal != head]
            if not all(_holds(world, condition) for condition in conditions):
                yield step_line(
                    [*map(write_literal, conditions), sentence], write_literal(head), place + 1
                )


def _backwards(world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    """With all that the rule says but one thing: that one is concluded, as if the rule were its own converse."""
    if _parts(gold[place]):
        shown = {
            clause
            for line in gold[:place]
            for step in [read_step(line)]
            if step
            for clause in step.conclusion
        }
        for sentence, clause in _used(world, random):
            for head in sorted(clause):
                concluded = random.choice(
                    [negated(literal) for literal in sorted(clause) if literal != head]
                )
                if frozenset([head]) in world.clauses | shown and not _holds(world, concluded):
                    yield step_line(
                        [write_literal(head), sentence], write_literal(concluded), place + 1
                    )


def _answer(world: World, gold: Lines, place: int, random: Random) -> Iterator[str]:
    if place == len(gold) - 1:
        yield from (
            f"The answer is {answer}."
            for answer in random.sample(ANSWERS, len(ANSWERS))
            if answer != world.answer
        )


def _holds(world: World, literal: Literal) -> bool:
    return follows(world.clauses, frozenset([literal]))


def _names(world: World) -> Sequence[str]:
    return sorted(
        {literal.subject for clause in world.clauses for literal in clause if literal.subject}
    )


def _used(world: World, random: Random) -> Iterator[tuple[str, Clause]]:
    """Every rule of the problem on every person, in any order."""
    for sentence in _shuffled(world.given, random):
        for clause in sorted(ground(read(sentence) or (), _names(world)), key=sorted):
            if len(clause) > 1:
                yield sentence, clause


KINDS: Mapping[str, Callable[[World, Lines, int, Random], Iterator[str]]] = {
    "negated": _negated,
    "other_trait": _other_trait,
    "other_person": _other_person,
    "left_out": _left_out,
    "condition_dropped": _condition_dropped,
    "invented": _invented,
    "backwards": _backwards,
    "answer": _answer,
}
