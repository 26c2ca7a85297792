r"""Suspect what a step says about divisions with a remainder.

Examples: `706 ÷ 7 = 100 with a remainder of 6`, `2003 divided by 3 leaves a remainder of 2`, `the
remainder when 50 is divided by 8 is 2`. The dividend is the number as written: after an operator,
nothing is read. What is false is a suspicion, because words may change what is divided.

What is not covered: names, negative numbers, remainders of polynomials, other bases.
"""

import re
from collections.abc import Iterator

from verifiers.algebra_rules.number_facts import END, START
from verifiers.math.findings import HOLDS, StepJudgement, false

REMAINDER = "division with remainder"

# Delimiters of formulas and spaces in them, which do not change a number.
LAYOUT = re.compile(r"\\[()\[\]]|\$|\\[,;:!](?! ?\d)")
NUMBER = r"(?<![\w.,^_{])(\d{1,12})(?![\w^%!]|[.,]?\d)"
# Neither an operator nor words join the dividend to something before it: "the square of 5".
DIVIDEND = rf"(?:{START}|\b(?:have|has|get|find|is|that|when|When),? ){NUMBER}"
OTHER_BASE = re.compile(r"\b[Bb]ase\b|\b[Bb]inary\b")
DIVIDED = rf" ?(?:÷|\\div|/|(?:is )?divided by) ?{NUMBER},?"
EQUALS = rf" ?(?:=|is|equals|gives) ?{NUMBER}"
REST = rf"(?:an? )?remainder(?: of| is| =)? ?{NUMBER}{END}"
WITH_QUOTIENT = re.compile(rf"{DIVIDEND}{DIVIDED}{EQUALS},? (?:with |and |leaving )?{REST}")
WITH_LETTER = re.compile(
    rf"{DIVIDEND}{DIVIDED}{EQUALS} ?(?:\\text\{{ ?)?R ?\}}? ?(?:\\, ?)?{NUMBER}{END}"
)
WITHOUT_QUOTIENT = re.compile(
    rf"{DIVIDEND}{DIVIDED} (?:leaves|gives|has|with|leaving|yields) {REST}"
)
WHEN_DIVIDED = re.compile(
    rf"remainder when {NUMBER} is divided by {NUMBER} (?:is|equals|=) {NUMBER}{END}"
)
REST_FIRST = re.compile(
    rf"{DIVIDEND} (?:leaves|has|gives) a remainder of {NUMBER} when (?:it is )?divided by"
    rf" {NUMBER}{END}"
)


def remainders(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about divisions with a remainder, with the judgements."""
    if "divid" not in text and "remainder" not in text and "R" not in text:
        return
    if OTHER_BASE.search(text):
        return
    plain = LAYOUT.sub("", text)
    for pattern in (WITH_QUOTIENT, WITH_LETTER):
        for match in pattern.finditer(plain):
            dividend, divisor, quotient, rest = map(int, match.groups())
            yield _judge(match, dividend, divisor, rest, quotient)
    for pattern in (WITHOUT_QUOTIENT, WHEN_DIVIDED):
        for match in pattern.finditer(plain):
            dividend, divisor, rest = map(int, match.groups())
            yield _judge(match, dividend, divisor, rest)
    for match in REST_FIRST.finditer(plain):
        dividend, rest, divisor = map(int, match.groups())
        yield _judge(match, dividend, divisor, rest)


def _judge(
    match: re.Match[str], dividend: int, divisor: int, rest: int, quotient: int | None = None
) -> tuple[str, StepJudgement]:
    """Return the statement and its judgement."""
    statement = " ".join(match[0].split()).lstrip(".;:!?=( $")
    if divisor == 0:
        return statement, false(REMAINDER, "the divisor is zero")
    expected = divmod(dividend, divisor)
    if rest == expected[1] and quotient in (None, expected[0]):
        return statement, HOLDS
    return statement, false(REMAINDER, f"it is {expected[0]} with remainder {expected[1]}")
