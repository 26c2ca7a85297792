"""The step language of the procedural word problems, and what makes a line of it true.

A world is a set of quantities. A given one has a value; a derived one is defined by a reading of the problem and an operation on other
quantities or numbers. A step derives one quantity in one line, and a solution ends with the answer:

    Step 2: Ben has 7 more than Ana: 24 + 7 = 31, so Ben has 31 books.
            ^ reading                ^ operation        ^ holder   ^ unit
    The answer is 31.

Because a line names the quantity that it derives, the truth of every line can be decided without a model.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stepmark.records import Verdict

__all__ = ["Derived", "World", "answer_line", "judge_lines", "solve", "step_line"]

OPERATIONS: Mapping[str, Callable[[int, int], Fraction]] = {
    "+": lambda a, b: Fraction(a + b),
    "-": lambda a, b: Fraction(a - b),
    "*": lambda a, b: Fraction(a * b),
    "/": lambda a, b: Fraction(a, b) if b else Fraction(-1),
}
COMMUTATIVE = "+*"
MAX_DIGITS = 9
NUMBER = rf"\d{{1,{MAX_DIGITS}}}"
STEP = re.compile(
    rf"Step {NUMBER}: (?P<reading>[^:\n]+): (?P<left>{NUMBER}) (?P<operator>[-+*/]) (?P<right>{NUMBER}) = (?P<result>{NUMBER}),"
    rf" so (?P<holder>[^:,.\d\n]+) (?P<value>{NUMBER}) (?P<unit>[a-z]+)\.\n?"
)
ANSWER = re.compile(rf"The answer is (?P<value>{NUMBER})\.\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A quantity and its definition; an operand is a number or the holder of another quantity."""

    holder: str
    reading: str
    operator: str
    left: int | str
    right: int | str
    unit: str

    def needs(self) -> tuple[str, ...]:
        """The holders that must be known first."""
        return tuple(operand for operand in (self.left, self.right) if isinstance(operand, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a problem states: given values and definitions by holder, in the order of the text, and which quantity is asked for."""

    given: Mapping[str, int]
    derived: Mapping[str, Derived]
    target: str

    def value(self, operand: int | str) -> int:
        """The true value of a quantity or a number."""
        if isinstance(operand, int):
            return operand
        if operand in self.given:
            return self.given[operand]
        definition = self.derived[operand]
        result = OPERATIONS[definition.operator](
            self.value(definition.left), self.value(definition.right)
        )
        assert result.denominator == 1, f"{definition} is not whole"
        return int(result)

    def needed(self) -> frozenset[str]:
        """The derived quantities that the target rests on, itself included."""
        open_, found = [self.target], set[str]()
        while open_:
            holder = open_.pop()
            if holder in self.derived and holder not in found:
                found.add(holder)
                open_.extend(self.derived[holder].needs())
        return frozenset(found)


def solve(world: World) -> Sequence[str]:
    """The gold steps: again and again the first needed quantity, in the order of the text, whose operands are known."""
    known, lines = set(world.given), list[str]()
    waiting = [world.derived[holder] for holder in world.derived if holder in world.needed()]
    while waiting:
        ready = next(definition for definition in waiting if known.issuperset(definition.needs()))
        waiting.remove(ready)
        known.add(ready.holder)
        lines.append(step_line(world, ready, len(lines) + 1))
    return [*lines, answer_line(world)]


def step_line(world: World, definition: Derived, number: int) -> str:
    """The true line that derives a quantity as step `number` (1-based)."""
    left, right, value = (
        world.value(definition.left),
        world.value(definition.right),
        world.value(definition.holder),
    )
    return (
        f"Step {number}: {definition.reading}: {left} {definition.operator} {right} = {value},"
        f" so {definition.holder} {value} {definition.unit}.\n"
    )


def answer_line(world: World) -> str:
    """The true last line."""
    return f"The answer is {world.value(world.target)}."


def judge_lines(world: World, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    """The truth of every line, with the kind of mistake.

    A line is right when its reading, operator, operands (in either order where that is the same), result and conclusion are those of the
    quantity it derives, and everything it uses was given or rightly derived before: a step built on an earlier wrong value is wrong, a
    true step that the answer does not need is right. A line outside the language is unknown.
    """
    known = set(world.given)
    return [_judge_line(world, known, line) for line in lines]


def _judge_line(world: World, known: set[str], line: str) -> tuple[Verdict, str]:
    if answer := ANSWER.fullmatch(line):
        return _wrong_unless(_answer_mistake(world, known, int(answer["value"])))
    step = STEP.fullmatch(line)
    if step is None:
        return Verdict.UNKNOWN, "not in the step language"
    mistake = _step_mistake(world, known, step)
    if mistake is None:
        known.add(step["holder"])
    return _wrong_unless(mistake)


def _wrong_unless(mistake: str | None) -> tuple[Verdict, str]:
    return (Verdict.CORRECT, "") if mistake is None else (Verdict.INCORRECT, mistake)


def _answer_mistake(world: World, known: set[str], value: int) -> str | None:
    if value != world.value(world.target):
        return "answer"
    return None if world.target in known else "unsupported answer"


def _step_mistake(world: World, known: set[str], step: re.Match[str]) -> str | None:
    """The kind of the first mistake in a line, looked for from the reading to the conclusion."""
    definition = world.derived.get(step["holder"])
    if definition is None or step["unit"] != definition.unit:
        return "quantity"
    if step["reading"] != definition.reading or step["operator"] != definition.operator:
        return "reading"
    left, right, result = int(step["left"]), int(step["right"]), int(step["result"])
    truth = [world.value(definition.left), world.value(definition.right)]
    if [left, right] != truth and not (
        definition.operator in COMMUTATIVE and [right, left] == truth
    ):
        return "operand"
    if not known.issuperset(definition.needs()):
        return "order"
    if OPERATIONS[definition.operator](left, right) != result or int(step["value"]) != result:
        return "arithmetic"
    return None
