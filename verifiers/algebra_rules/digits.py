r"""Suspect what a step says about the digits of a whole number.

Examples: `87 in base 3 is 10020`, `13 is a two-digit number`, `the sum of the digits of 144 is 9`.
What is false is a suspicion, because the words around a number often change what is said about it.

A numeral before `in base 3` may be the one in this base: `102 in base 3 is 11` holds.

What is not covered: digits after the point, bases above 10, names, digits of a product or a power,
other sums of digits than those in base ten (alternating, repeated).
"""

import re
from collections.abc import Iterator

from verifiers.algebra_rules.number_facts import END, START
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.lexicon import NUMBER_WORDS

DIGITS = "digits of a number"

MAX_BASE = 10
OPEN = r"(?:\\\(|\$)? ?"
CLOSE = r"(?: ?\\\)|\$)?"
NUMBER = r"(?<![\w.,^_{])(\d{1,18})(?![\w^%!]|[.,]?\d)"
# The digits in another base, perhaps with the base as an index: `1010_2`, `1010_{(2)}`.
NUMERAL = r"(\d{1,60})(?:_\{?\(?\d{1,2}\)?\}?)?(?![\w^%!]|[.,]?\d)"
WRITTEN = (
    r"(?:is|equals|=|becomes|(?:is|can be|would be) (?:written|represented|expressed) as"
    r"|converts to)"
)
IN_BASE = re.compile(
    rf"\b[Ii]n base[- ]{OPEN}(\d{{1,2}}){CLOSE},? {OPEN}{NUMBER}{CLOSE} {WRITTEN}"
    rf" {OPEN}{NUMERAL}{CLOSE}{END}"
)
NUMBER_IN_BASE = re.compile(
    rf"{START}{NUMBER}{CLOSE} in base[- ]{OPEN}(\d{{1,2}}){CLOSE} {WRITTEN}"
    rf" {OPEN}{NUMERAL}{CLOSE}{END}"
)
COUNTS = "|".join(NUMBER_WORDS[1:11])
HAS_DIGITS = re.compile(
    rf"{START}{NUMBER}{CLOSE} (is|is not|isn't) an? ({COUNTS}|\d{{1,2}})[- ]digit"
    r" (?:number|integer|multiple|prime|square|cube)"
)
OTHER_SUM = re.compile(
    r"\b(?:[Bb]ase|[Bb]inary|[Aa]lternat\w+|[Rr]epeat\w*|[Rr]epetition|[Aa]gain)\b"
)
SUM = re.compile(
    rf"\bsum of (?:the|its) digits (?:of|in) (?:the number )?{OPEN}{NUMBER}{CLOSE}"
    rf" (?:is|equals) {OPEN}((?:\d ?\+ ?)+\d ?= ?)?(\d{{1,3}})(?![\w^%!]| ?[-+*/=]|[.,]?\d)"
    rf"{CLOSE}{END}"
)


def digits(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about the digits of numbers, with the judgements."""
    for match in IN_BASE.finditer(text):
        base, number, numeral = match.groups()
        yield from _judge_base(match, int(number), int(base), numeral)
    for match in NUMBER_IN_BASE.finditer(text):
        number, base, numeral = match.groups()
        yield from _judge_base(match, int(number), int(base), numeral)
    for match in HAS_DIGITS.finditer(text):
        number, verb, numeral = match.groups()
        count = int(numeral) if numeral.isdigit() else NUMBER_WORDS.index(numeral)
        holds = (len(number) == count) is (verb == "is")
        yield _judge(match, f"it has {len(number)}", holds=holds)
    sums = () if OTHER_SUM.search(text) else SUM.finditer(text)
    for match in sums:
        total = sum(map(int, match[1]))
        yield _judge(match, f"it is {total}", holds=total == int(match[3]))


def _judge_base(
    match: re.Match[str], number: int, base: int, numeral: str
) -> Iterator[tuple[str, StepJudgement]]:
    if 2 <= base < MAX_BASE:
        written = _in_base(number, base)
        is_numeral = written == numeral.lstrip("0")
        holds = is_numeral or _in_base(int(numeral), base) == str(number)
        yield _judge(match, f"it is {written}", holds=holds)


def _in_base(number: int, base: int) -> str:
    """Return the digits of a number; zero has none."""
    written = ""
    while number:
        number, digit = divmod(number, base)
        written = f"{digit}{written}"
    return written


def _judge(match: re.Match[str], reason: str, *, holds: bool) -> tuple[str, StepJudgement]:
    statement = " ".join(match[0].split()).lstrip(".;:!?( $")
    return statement, HOLDS if holds else false(DIGITS, reason)
