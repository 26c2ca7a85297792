"""The arithmetic of a step: incorrect if an equation in closed arithmetic is false as written.

Chains are read link by link, decimals may be rounded to the digits shown, and units are allowed.
Between sums of quantities, such as `2 hours = 120 minutes`, units are converted. What is false then
is a suspicion and no verdict. So are an approximate value with wrong digits, and a number that is
rounded to another one than the nearest.
A step whose equations hold is unknown, with their number as the reason: it need not follow from the
steps before.

What is not covered: whether the step follows, equations with variables and inequalities
(`algebra`), number words, mixed numbers, other unit conversions, percentages of something that is
not a number, and other arithmetic (number bases, remainders), where no equation is called false.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.arithmetic_rules.conversions import (
    CONVERSION,
    assumptions,
    converted_sides,
    quantity_equations,
)
from verifiers.arithmetic_rules.equality import (
    NUMBER_FIRST,
    is_difference,
    judge,
    judge_conversion,
)
from verifiers.arithmetic_rules.equations import NOT_DENIED, STARTS_TEXT, Equation, equations
from verifiers.arithmetic_rules.other_systems import may_be_other_arithmetic
from verifiers.arithmetic_rules.rounded_numbers import rounded_numbers
from verifiers.base import Claim, Finding, StepClaim
from verifiers.math import doubts
from verifiers.math.exact import exact_value
from verifiers.math.findings import StepJudgement, conclude, unknown
from verifiers.math.syntax import Number, Tree

__all__ = ["Arithmetic"]

MAX_CHARS = 100_000
DIVISION = frozenset("/÷")
# The relative error up to which whole numbers may be rounded, where the words say so.
ROUGHLY = Fraction(1, 10)
REMAINDER = re.compile(r"\b(?:remainders?|left ?over|leftover)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """A checker of every closed equation in a step."""

    version: ClassVar[int] = 9

    def verify(self, claim: Claim) -> Finding:
        """Return the finding; its reason names the false equation or counts the true ones."""
        if not isinstance(claim, StepClaim):
            return unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return unknown("too long")
        return conclude(_judgements(claim), "no equation")


def _judgements(claim: StepClaim) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the equations of a step and their judgements."""
    words: tuple[str, ...] | None = None
    judged = []
    for equation in (*equations(claim.step), *quantity_equations(claim.step)):
        judged.append((equation, _judge(equation, claim)))
    # After `1 = 66`, the numbers of a step count shares: then `4 + 16 = 280` may be right.
    is_worth = any(_counts_shares(equation) for equation, _ in judged)
    # After "if 3 + 4 = 8", other equations may follow from it.
    is_supposed = any(
        judgement.verdict is Verdict.INCORRECT and NOT_DENIED in judgement.assumptions
        for _, judgement in judged
    )
    for equation, judgement in judged:
        if judgement.verdict is Verdict.INCORRECT:
            # All texts are searched once, and only if an equation is false.
            if words is None:
                words = tuple(_doubts(claim))
            assumed = [*judgement.assumptions, *words]
            assumed.extend(_assumptions(claim, equation, judgement.rule))
            if is_worth:
                assumed.append(NUMBER_FIRST)
            if is_supposed:
                assumed.append(NOT_DENIED)
            if doubts.is_in_question(claim, equation.text):
                assumed.append(doubts.NOT_QUOTED)
            yield equation.text, judgement._replace(assumptions=tuple(dict.fromkeys(assumed)))
        else:
            yield equation.text, judgement
    for statement, judgement in rounded_numbers(claim.step):
        if judgement.verdict is Verdict.INCORRECT:
            yield statement, judgement._replace(assumptions=tuple(doubts.of_claim(claim)))
        else:
            yield statement, judgement


def _doubts(claim: StepClaim) -> Iterator[str]:
    """Yield what every false equation of a step assumes about the texts.

    A question that states a false equation is a puzzle or a choice: "if 1 + 4 = 5 and 2 + 5 = 12".
    """
    yield from doubts.of_claim(claim)
    for equation in equations(claim.question[: doubts.MAX_QUESTION_CHARS]):
        if judge(equation).verdict is Verdict.INCORRECT:
            yield doubts.ORDINARY_ARITHMETIC
            return


def _counts_shares(equation: Equation) -> bool:
    """Return whether a number without unit is said to be another number: `1 = 66`."""
    if equation.sides is None:
        return False
    left, right = equation.sides
    if not isinstance(left, Number) or not isinstance(right, Number):
        return False
    is_whole = left.decimals == 0 and right.decimals == 0
    return is_whole and not left.unit and not left.percent and left.value != right.value


def _judge(equation: Equation, claim: StepClaim) -> StepJudgement:
    """Judge an equation by its numbers, and by its units if these can be converted."""
    sides = converted_sides(equation)
    if sides is None:
        return judge(equation)
    judgement = judge_conversion(sides)
    if judgement.verdict is not Verdict.INCORRECT:
        return judgement
    assumed = (*equation.assumptions, *assumptions(equation, claim))
    return judgement._replace(assumptions=assumed)


def _assumptions(claim: StepClaim, equation: Equation, rule: str) -> Iterator[str]:
    """Yield what a false equation has in common with right ones in this step."""
    if not DIVISION.isdisjoint(equation.text) and REMAINDER.search(claim.step):
        yield "a division has no remainder"
    if equation.starts_text and doubts.may_continue(claim):
        yield STARTS_TEXT
    if rule != CONVERSION and equation.sides is not None:
        yield from _assumptions_about_values(claim, *equation.sides)


def _assumptions_about_values(claim: StepClaim, left_side: Tree, right_side: Tree) -> Iterator[str]:
    left = exact_value(left_side)
    right = exact_value(right_side)
    if left is None or right is None:
        return
    if may_be_other_arithmetic(left_side, right_side):
        yield doubts.ORDINARY_ARITHMETIC
    if doubts.start_again(claim, left, right):
        yield "numbers do not start again, as on a clock"
    # Pages `12 - 20 = 9`, with both of them, and hours `10 - 2 = 4`, over noon.
    is_range = left < 0 and left + right == 1
    is_over_noon = doubts.is_calendar(claim) and (left + right) % 12 == 0
    if is_difference(left_side) and (is_range or is_over_noon):
        yield "a dash between two numbers subtracts"
    is_close = abs(left - right) <= ROUGHLY * max(abs(left), abs(right))
    if is_close and doubts.may_be_rounded(claim, right):
        yield "numbers are not rounded further than shown"
