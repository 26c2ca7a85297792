r"""Suspect what a step says about whole numbers: predicates in words, congruences, divisors.

Examples: `91 is prime`, `84 is divisible by 5`, `17 ≡ 3 (mod 7)`, `\gcd(12, 18) = 6`. A number is
read only at the start of a clause, after `=`, or after a word such as "so": "the sum of 3 and 4 is
odd" says nothing about 4. A clause must end after the statement: "15 is divisible by 2 more than 3"
is not read. A false statement is a suspicion, because the words around a number often change what
is said about it. If its sentence supposes or denies something before it, as in "if n = 9 is prime",
that is a further doubt.

What is said about two numbers, as in "24 and 1199 are divisible by 3", is false if it is false
about one of them.

What is not covered: more than two numbers, names, numbers of more than 7 digits.
"""

import math
import re
from collections.abc import Callable, Iterator

from verifiers.algebra_rules.contexts import NOT_SUPPOSED
from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value
from verifiers.math.findings import HOLDS, StepJudgement, false
from verifiers.math.lexicon import REFUTING

PREDICATE = "number predicate"
CONGRUENCE = "congruence"
DIVISORS = "divisors"

# How much text before a statement may suppose or deny it.
MAX_BEFORE = 120
SENTENCE_END = re.compile(r"[.;!?](?=\s)|\n")
WORD = re.compile(r"[A-Za-z']+")
# Trial division of a larger number would take too long.
MAX_DIGITS = 7
# What may precede the number: the start of a clause, or one of these words.
START = (
    r"(?:^|[.;:!?=\n] ?|\b(?:[Ss]ince|[Bb]ecause|(?:[Nn]ote|see|know|follows) that|[Ss]o|[Tt]hus"
    r"|[Tt]hen|[Tt]herefore|[Hh]ence|[Bb]ut|[Cc]learly|[Nn]ow|[Nn]umber),? )[$(]{0,3} ?"
)
NUMBER = rf"(?<![\w.,^_{{])(\d{{1,{MAX_DIGITS}}})(?![\w.,]?\d|[\w^%!/*+])"
CLOSE = r" ?(?:\\\))?\$?,? "
# What may follow a statement: the end of a clause, or a word that begins another one. In "even
# more", "divisible by 2 primes" and `= 2 · 3`, the statement continues.
END = (
    r"(?=(?:\\?[)\]])? ?\$?(?:[.,;:)\n=](?!\d)|\s*$"
    r"| (?:and|so|but|because|since|as|while|then|hence|thus|therefore|which)\b))"
)
NOT = r"(is|is not|isn't) (?:indeed |also |itself |clearly |exactly )?"
KIND = (
    r"(?:an? )?(prime|composite|even|odd|perfect square|perfect cube)"
    rf"(?: number)?{END}"
)
OF_NUMBER = (
    rf"(divisible by|a multiple of|a factor of|a divisor of) ?(?:\\\(|\$)?\s*{NUMBER}"
    rf"(?! ?[=,])(?!\$? and\b){END}"
)
IS_KIND = re.compile(f"{START}{NUMBER}{CLOSE}{NOT}{KIND}")
IS_OF_NUMBER = re.compile(f"{START}{NUMBER}{CLOSE}{NOT}{OF_NUMBER}")
# `24 and 1199 are divisible by 3`, `4 and 9 have no common factor`.
PAIR = (
    rf"{START}(?:(?:[Nn]otice|[Nn]ote|[Ss]ee) that )?(?:[Bb]oth )?[$(]{{0,3}}{NUMBER}{CLOSE}and"
    rf" [$(]{{0,3}}{NUMBER} ?(?:\\\))?\$? "
)
ARE_KIND = re.compile(
    rf"{PAIR}are (?:both )?(prime|composite|even|odd|perfect square|perfect cube)s?"
    rf"(?: numbers)?{END}"
)
ARE_OF_NUMBER = re.compile(
    rf"{PAIR}are (?:both )?(?:divisible by|multiples of) ?(?:\\\(|\$)?\s*{NUMBER}(?! ?[=,])"
    rf"(?!\$? and\b){END}"
)
HAVE_NO_FACTOR = re.compile(
    rf"{PAIR}(?:are (?:relatively prime|coprime|co-prime)"
    r"|(?:have no|share no|do not (?:have|share) any|don't (?:have|share) any) (?:other )?common"
    rf" (?:prime )?(?:factor|divisor)s?(?:,? (?:other than|except|besides) (?:1|one|\$1\$))?){END}"
)
MODULUS = re.compile(
    r"(?:\\pmod ?\{? ?|\( ?(?:\\text\{)?mod\}? ?\}? ?|\\bmod ?\{? ?)(\d{1,9})"
    r" ?(?:[})]|(?! ?[-+*/^·!\w\\]))"
)
# A congruence has at most this many characters before its modulus.
MAX_CONGRUENCE = 200
BORDER = re.compile(r"[.,;:!?\n$]|\\\(|\\\[")
LEADING = re.compile(
    r" ?(?:(?:[Ss]o|[Tt]hus|[Tt]hen|[Tt]herefore|[Hh]ence|[Ss]ince|[Nn]ow|[Aa]nd|[Tt]hat"
    r"|[Ww]e (?:have|get)) ){0,4}"
)
SIGN = re.compile(r"\\equiv(?![A-Za-z])|≡")
# Words that may precede a greatest common divisor without changing the statement.
BEFORE_GCD = r"(?:\b(?:[Tt]he|[Ww]e (?:get|have|find)|[Gg]et|and|is|where|[Ff]ind) ?)"
GCD = re.compile(
    rf"(?:{START}|{BEFORE_GCD})[$(]{{0,3}} ?"
    r"\\?(?:operatorname\{|text\{|mathrm\{)?(?<![A-Za-z])(gcd|lcm|GCD|LCM|HCF)\}? ?(?:\\left)?\( ?"
    rf"(\d{{1,12}}) ?, ?(\d{{1,12}}) ?(?:\\right)?\) ?= ?(\d{{1,12}})(?![\d.,]?\d){END}"
)


def number_facts(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about whole numbers, with the judgements."""
    for match in IS_KIND.finditer(text):
        number, verb, kind = match.groups()
        yield from _judge(match, PREDICATES[kind](int(number)), verb, PREDICATE)
    for match in IS_OF_NUMBER.finditer(text):
        number, verb, relation, other = match.groups()
        yield from _judge_multiple(match, int(number), verb, relation, int(other))
    yield from _pairs(text)
    for match in GCD.finditer(text):
        function = math.lcm if match[1].lower() == "lcm" else math.gcd
        holds = function(int(match[2]), int(match[3])) == int(match[4])
        yield from _judge(match, holds, "is", DIVISORS)
    yield from _congruences(text)


def _pairs(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about two numbers at once, with the judgements."""
    for match in ARE_KIND.finditer(text):
        first, second, kind = match.groups()
        predicate = PREDICATES[kind]
        holds = predicate(int(first)) and predicate(int(second))
        yield from _judge(match, holds, "is", PREDICATE)
    for match in ARE_OF_NUMBER.finditer(text):
        first, second, divisor = map(int, match.groups())
        if divisor > 0:
            holds = first % divisor == second % divisor == 0
            yield from _judge(match, holds, "is", PREDICATE)
    for match in HAVE_NO_FACTOR.finditer(text):
        holds = math.gcd(int(match[1]), int(match[2])) == 1
        yield from _judge(match, holds, "is", DIVISORS)


def _judge(
    match: re.Match[str], holds: bool, verb: str, rule: str
) -> Iterator[tuple[str, StepJudgement]]:
    statement = " ".join(match[0].split()).lstrip(".;:!?( $")
    if holds is (verb == "is"):
        yield statement, HOLDS
    else:
        yield statement, false(rule, "it is not so", _supposition(match))


def _supposition(match: re.Match[str]) -> str:
    """Return the assumption that a statement is claimed, if words before it suppose or deny it."""
    # A match may begin with the end of the sentence before it.
    start = match.start(1)
    before = match.string[max(0, start - MAX_BEFORE) : start]
    sentence = SENTENCE_END.split(before)[-1]
    is_supposed = not REFUTING.isdisjoint(WORD.findall(sentence.lower()))
    return NOT_SUPPOSED if is_supposed else ""


def _judge_multiple(
    match: re.Match[str], number: int, verb: str, relation: str, other: int
) -> Iterator[tuple[str, StepJudgement]]:
    divisor = other
    multiple = number
    if relation in ("a factor of", "a divisor of"):
        divisor = number
        multiple = other
    if divisor > 0:
        yield from _judge(match, multiple % divisor == 0, verb, PREDICATE)


def _is_prime(number: int) -> bool:
    if number < 2:
        return False
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _is_cube(number: int) -> bool:
    root = round(number ** (1 / 3))
    return any(candidate**3 == number for candidate in (root - 1, root, root + 1))


PREDICATES: dict[str, Callable[[int], bool]] = {
    "prime": _is_prime,
    "composite": lambda number: number > 1 and not _is_prime(number),
    "even": lambda number: number % 2 == 0,
    "odd": lambda number: number % 2 == 1,
    "perfect square": lambda number: math.isqrt(number) ** 2 == number,
    "perfect cube": _is_cube,
}


def _congruences(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield congruences between closed formulas: `2^{10} ≡ 4 ≡ 1 (mod 3)`."""
    start = 0
    for match in MODULUS.finditer(text):
        chunk = text[max(start, match.start() - MAX_CONGRUENCE) : match.start()]
        is_cut = match.start() - start > MAX_CONGRUENCE
        start = match.end()
        modulus = int(match[1])
        if modulus == 0:
            continue
        *outside, inside = BORDER.split(chunk)
        sides = SIGN.split(LEADING.sub("", inside, count=1))
        values = [_whole_value(side) for side in sides]
        if is_cut and not outside:
            values[0] = None
        for index in range(1, len(sides)):
            left = values[index - 1]
            right = values[index]
            if left is None or right is None:
                continue
            statement = f"{sides[index - 1].strip()} ≡ {sides[index].strip()} (mod {modulus})"
            if (left - right) % modulus == 0:
                yield statement, HOLDS
            else:
                reason = f"they differ by {left - right}"
                yield statement, false(CONGRUENCE, reason, _supposition(match))


def _whole_value(side: str) -> int | None:
    """Return the value of a closed formula without units if it is whole and is all of the text."""
    sequence = tokens(side.strip())
    parsed = parse(sequence)
    if (
        parsed is None
        or parsed[1] != len(sequence)
        or any(token.text.isalpha() for token in sequence)
    ):
        return None
    value = exact_value(parsed[0])
    return int(value) if value is not None and value.denominator == 1 else None
