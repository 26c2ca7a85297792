r"""Judge a pair that a step claims as a solution by the equations that are stated in two names.

Example: `3x^2 + 3y = 0` and `3y^2 + 3x = 0`, and then "one solution is (-1, 1)". The pair contains
the values of the names in alphabetical order. It must solve all equations in these two names of the
question, of the step before and of the step. What is false is a suspicion: the solutions may be
those of one of the equations.

What is not covered: values that are not rational, triples, pairs of a function's points.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.algebra_rules import values
from verifiers.algebra_rules.stated_equations import OF_EARLIER_STEP, Stated, StatedEquation
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.syntax import UndefinedError

SOLUTION_PAIR = "solution pair"

MAX_PAIRS = 16
LAYOUT = re.compile(r"\\[()\[\]]|\$|\\[,;:!]|\\(?:left|right)(?![A-Za-z])")
NUMBER = r"[-−]?\d{1,9}(?:/\d{1,9})?"
PAIR = re.compile(rf"(?<![\w)]) ?\( ?({NUMBER}) ?, ?({NUMBER}) ?\)(?! ?(?:and|or)? ?not)")
# So many characters before "solutions" may restrict them.
MAX_BEFORE = 40
# A sentence that lists solutions. Words may deny or restrict them.
SENTENCE = re.compile(
    r"\bsolutions?\b(?: [a-z]+){0,6}?(?: is| are|:) (?:\( ?[a-z] ?, ?[a-z] ?\) ?= ?)?"
    r"(?=\()[^.;\n]{1,200}"
)
DENIED = re.compile(
    r"\b(?:not|no|isn't|aren't|extraneous|of the form|vertex|point|if|try|guess|first|second|third"
    r"|equation|line|circle|alone|candidates?|potential|possible (?:\w+ )?solutions)\b"
)

BORDER = re.compile(r"[.;\n]")


def solution_pairs(stated: Stated) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the claimed pairs with their judgements."""
    plain = LAYOUT.sub("", stated.context.claim.step)
    sentences = list(SENTENCE.finditer(plain))
    if not sentences:
        return
    equations = _equations(stated)
    if len(equations) < 2:
        return
    count = 0
    for sentence in sentences:
        before = plain[max(0, sentence.start() - MAX_BEFORE) : sentence.start()]
        words = BORDER.split(before)[-1] + sentence[0]
        if DENIED.search(words):
            continue
        for match in PAIR.finditer(sentence[0]):
            count += 1
            if count > MAX_PAIRS:
                return
            pair = [_value(number) for number in match.groups()]
            yield match[0].strip(), _judge(pair, equations, stated)


def _equations(stated: Stated) -> Sequence[StatedEquation]:
    """Return the equations in two names that are stated near, if these are always the same two."""
    equations = list[StatedEquation]()
    for equation in (*stated.before, *stated.here):
        if len(equation.names) == 2 and equation.assumption != OF_EARLIER_STEP:
            equations.append(equation)
    return equations if len({equation.names for equation in equations}) == 1 else ()


def _value(number: str) -> Fraction:
    numerator, _, denominator = number.replace("−", "-").partition("/")
    if denominator and int(denominator) == 0:
        return Fraction(int(numerator))
    return Fraction(int(numerator), int(denominator or 1))


def _judge(
    pair: Sequence[Fraction], equations: Sequence[StatedEquation], stated: Stated
) -> StepJudgement:
    environment = dict(zip(sorted(equations[0].names), pair, strict=True))
    for equation in equations:
        try:
            sign = values.order(equation.left, equation.right, environment)
        except UndefinedError:
            continue
        if sign:
            reason = f"it does not solve {equation.chain.text}"
            return false(SOLUTION_PAIR, reason, equation.assumption, stated.context.cases)
    return HOLDS
