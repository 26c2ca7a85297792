"""The step language of the procedural word problems, and the oracle that judges its lines.

An `ArithmeticWorld` is a set of quantities. A given quantity has a value. A derived quantity is
defined by a reading of the problem text and an operation on other quantities or numbers. A step
derives one quantity in one line, and a solution ends with the answer:

    Step 2: Ben has 7 more than Ana: 24 + 7 = 31, so Ben has 31 books.
            ^ reading                ^ operation        ^ holder   ^ unit
    The answer is 31.

Each line names the quantity that it derives, so its truth can be decided without a model. No code
is shared with `verifiers`: with shared code, a bug in the oracle and in a verifier would confirm
itself.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stepmark.records import Verdict

__all__ = ["ArithmeticWorld", "Derived", "answer_line", "judge_lines", "solve", "step_line"]


def _divide(dividend: int, divisor: int) -> Fraction:
    """Return the quotient, or -1 for a divisor of 0: no line can state a negative result."""
    if divisor == 0:
        return Fraction(-1)
    return Fraction(dividend, divisor)


OPERATIONS: Mapping[str, Callable[[int, int], Fraction]] = {
    "+": lambda a, b: Fraction(a + b),
    "-": lambda a, b: Fraction(a - b),
    "*": lambda a, b: Fraction(a * b),
    "/": _divide,
}
COMMUTATIVE = "+*"
# True values stay far below this; the limit bounds the work on a line of a model.
MAX_DIGITS = 9
NUMBER = rf"\d{{1,{MAX_DIGITS}}}"
STEP = re.compile(
    rf"Step {NUMBER}: (?P<reading>[^:\n]+):"
    rf" (?P<left>{NUMBER}) (?P<operator>[-+*/]) (?P<right>{NUMBER}) = (?P<result>{NUMBER}),"
    rf" so (?P<holder>[^:,.\d\n]+) (?P<value>{NUMBER}) (?P<unit>[a-z]+)\.\n?"
)
ANSWER = re.compile(rf"The answer is (?P<value>{NUMBER})\.\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A quantity and its definition.

    An operand is a number or the holder of another quantity, such as "Ana has".
    """

    holder: str
    reading: str
    operator: str
    left: int | str
    right: int | str
    unit: str

    def needs(self) -> tuple[str, ...]:
        """Return the holders of the operands that are quantities."""
        return tuple(operand for operand in (self.left, self.right) if isinstance(operand, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticWorld:
    """The statements of a word problem.

    Given values and definitions are stored by holder, in the order of the text. `target` is the
    holder of the quantity that the problem asks for. The field names are also the keys of the JSON
    in the metadata of a problem.
    """

    given: Mapping[str, int]
    derived: Mapping[str, Derived]
    target: str

    def value(self, operand: int | str) -> int:
        """Return the true value of a quantity, or a number unchanged."""
        if isinstance(operand, int):
            return operand
        if operand in self.given:
            return self.given[operand]
        definition = self.derived[operand]
        left = self.value(definition.left)
        right = self.value(definition.right)
        result = OPERATIONS[definition.operator](left, right)
        assert result.denominator == 1, f"{definition} is not whole"
        return int(result)

    def needed(self) -> frozenset[str]:
        """Return the derived quantities on which the target depends, including the target."""
        needed: set[str] = set()
        pending = [self.target]
        while pending:
            holder = pending.pop()
            if holder in self.derived and holder not in needed:
                needed.add(holder)
                pending.extend(self.derived[holder].needs())
        return frozenset(needed)


def solve(world: ArithmeticWorld) -> Sequence[str]:
    """Return the gold lines.

    Each step derives the first needed quantity, in the order of the text, whose operands have
    values.
    """
    derived_holders = set(world.given)
    lines: list[str] = []
    needed = world.needed()
    waiting = [definition for holder, definition in world.derived.items() if holder in needed]
    while waiting:
        ready = next(item for item in waiting if derived_holders.issuperset(item.needs()))
        waiting.remove(ready)
        derived_holders.add(ready.holder)
        lines.append(step_line(world, ready, len(lines) + 1))
    return [*lines, answer_line(world)]


def step_line(world: ArithmeticWorld, definition: Derived, number: int) -> str:
    """Return the true line that derives a quantity as step `number` (1-based)."""
    left = world.value(definition.left)
    right = world.value(definition.right)
    value = world.value(definition.holder)
    return (
        f"Step {number}: {definition.reading}: {left} {definition.operator} {right} = {value},"
        f" so {definition.holder} {value} {definition.unit}.\n"
    )


def answer_line(world: ArithmeticWorld) -> str:
    """Return the true last line."""
    return f"The answer is {world.value(world.target)}."


def judge_lines(world: ArithmeticWorld, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    """Return the truth of every line, with the kind of mistake ("" for a correct line).

    A line is correct if its reading, operator, operands, result and conclusion are those of the
    quantity that it derives, and if every quantity that it uses is given or was correctly derived
    before. Operands may be swapped where the operation is commutative. A step that uses an earlier
    wrong value is therefore incorrect; a true step that the answer does not need is correct. A line
    outside the language is UNKNOWN.
    """
    derived_holders = set(world.given)
    return [_judge_line(world, derived_holders, line) for line in lines]


def _judge_line(
    world: ArithmeticWorld, derived_holders: set[str], line: str
) -> tuple[Verdict, str]:
    """Judge one line; a correct step adds its quantity to `derived_holders`."""
    answer = ANSWER.fullmatch(line)
    if answer:
        mistake = _answer_mistake(world, derived_holders, int(answer["value"]))
        return _verdict_for(mistake)
    step = STEP.fullmatch(line)
    if step is None:
        return Verdict.UNKNOWN, "not in the step language"
    mistake = _step_mistake(world, derived_holders, step)
    if mistake is None:
        derived_holders.add(step["holder"])
    return _verdict_for(mistake)


def _verdict_for(mistake: str | None) -> tuple[Verdict, str]:
    if mistake is None:
        return Verdict.CORRECT, ""
    return Verdict.INCORRECT, mistake


def _answer_mistake(world: ArithmeticWorld, derived_holders: set[str], value: int) -> str | None:
    if value != world.value(world.target):
        return "answer"
    if world.target not in derived_holders:
        return "unsupported answer"
    return None


def _step_mistake(
    world: ArithmeticWorld, derived_holders: set[str], step: re.Match[str]
) -> str | None:
    """Return the kind of the first mistake in a line, or None.

    The parts are checked in the order in which a line depends on them, so that a wrong operand is
    not reported as wrong arithmetic.
    """
    definition = world.derived.get(step["holder"])
    if definition is None or step["unit"] != definition.unit:
        return "quantity"
    if step["reading"] != definition.reading or step["operator"] != definition.operator:
        return "reading"
    left = int(step["left"])
    right = int(step["right"])
    true_operands = (world.value(definition.left), world.value(definition.right))
    same_operands = (left, right) == true_operands
    swapped_operands = (right, left) == true_operands and definition.operator in COMMUTATIVE
    if not same_operands and not swapped_operands:
        return "operand"
    if not derived_holders.issuperset(definition.needs()):
        return "order"
    result = int(step["result"])
    is_true_result = OPERATIONS[definition.operator](left, right) == result
    if not is_true_result or int(step["value"]) != result:
        return "arithmetic"
    return None
