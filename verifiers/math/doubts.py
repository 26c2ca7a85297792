"""Words and surroundings under which a false statement may not be claimed.

Each is an assumption that a rule takes: that the statement is claimed, in ordinary arithmetic.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from verifiers.base import StepClaim
from verifiers.math.lexicon import OTHER_ARITHMETIC, REFUTATION, ROUNDING

ORDINARY_ARITHMETIC = "ordinary arithmetic is meant"
NOT_QUOTED = "no refuted equation is quoted"
NOT_TRIED = "the equation is claimed, not tried"

TRIED = re.compile(
    r"\b(?:suppos\w+|assum\w+|wait|oops|hmm|hm|sorry|correction|try|tries|trying|trial"
    r"|testing|test (?:if|whether)|guess\w*|pretend\w*|imagine"
    r"|re-?check\w*|re-?comput\w*|re-?calculat\w*|double[- ]check\w*|redo|no(?=, )|hypothe\w+"
    r"|verify|verifying|check|checking|had it been|(?-i:Were (?=\d))"
    r"|(?:if|when|let's see if) (?:we|you|i) (?:plug|substitut|set|take|put)\w*)\b",
    re.IGNORECASE,
)
# An operation that the problem defines for two names: `a * b = a^b + b^a`.
DEFINED_OPERATION = re.compile(
    r"(?<![\w^*\\])[a-zA-Z]\$? ?(?:\\(?:ast|star|circ|bullet|cdot|times)|[*#@&∗⋆∘∙]) ?"
    r"\$?[a-zA-Z]\$? ?(?:=|equals?|is defined|means|denotes?)|\\boxed"
    r"|(?<!order of )\boperations?\b|\bsymbol\b"
    r"|[-+*/×÷#@&^]\$? (?:denotes?|stands? for|means|represents?)\b"
)
# A step has many products of two names: the right side must contain both of them, and a sum or a
# square, as in `m * n = mn + m`.
DEFINED_IN_STEP = re.compile(
    r"(?<![\w^*\\}])([a-zA-Z])\$? ?(?:[*∗⋆∘×·]|\\(?:ast|star|circ|bullet|cdot|times)) ?"
    r"\$?([a-zA-Z])\$? ?= ?(?=[^=,;.\n]{0,60}[-+^−²³])"
    r"(?=[^=,;.\n]{0,60}(?<![a-zA-Z]{2})\1(?![a-zA-Z]{2}))"
    r"(?=[^=,;.\n]{0,60}(?<![a-zA-Z]{2})\2(?![a-zA-Z]{2}))"
)
OTHER_SYSTEM = re.compile(
    r"\b(?:boolean|bitwise|xor|nand|nor|GF ?\(|finite field|field with|residues?|legendre"
    r"|0x[0-9a-f]+|nim|characteristic \d|digital roots?|casting out|in units of"
    r"|(?:in|as) multiples of)\b"
    r"|\boperation [+×·∗]|GF\(|\b(?:true|false) ?[+*×·∧∨]|(?-i:\bZ_\d)",
    re.IGNORECASE,
)
CALENDAR = re.compile(
    r"\b(?:clocks?|hours?|o'clock|noon|midnight|days?|weeks?|dates?|months?|calendar|angles?|degrees?"
    r"|january|february|march|april|june|july|august|september|october|november|december"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b",
    re.IGNORECASE,
)
DIGITS = re.compile(r"\bdigits?\b", re.IGNORECASE)
# Numbers at which clocks, calendars and angles start again, or of which only the last digits count.
PERIODS = ((CALENDAR, (7, 12, 24, 28, 29, 30, 31, 60, 360, 365)), (DIGITS, (10, 100, 1000)))
# Words with which a step quotes what somebody else says.
REPORTED = re.compile(
    r"\b(?:claims?|claimed|wrote|writes|thought|thinks?|believe[ds]?|some say|first got"
    r"|miscalculat\w*|misread\w*|slogan|(?:student|pupil)s? (?:\w+ )?(?:computed|found|got|said)"
    r"|is what \w+ (?:got|said))\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[a-z]+")
CONTRADICTION = re.compile(r"\b(?:contradict\w*|contrary|absurd\w*)\b", re.IGNORECASE)
# The end of a step whose formula continues in the next one.
UNFINISHED = re.compile(r"(?:[-+*/^=×÷·(\[{<>≤≥&]|\\(?:cdot|times|div|[lc]?dots)|\\\\)[\s$&]*$")
NUMBER_AT_END = re.compile(r"\d[\s$]*$")
SIGN_AT_START = re.compile(r"\s*[-+*/×÷·−–]")
# The question is searched for every false statement, so that its length is bounded.
MAX_QUESTION_CHARS = 20_000
# The last characters of a step are searched for its end.
END_CHARS = 40


def of_claim(claim: StepClaim) -> Iterator[str]:
    """Yield what a rule assumes about the words of a step and of those before it."""
    texts = (claim.question, *claim.previous, claim.step)
    is_defined = DEFINED_OPERATION.search(claim.question) or any(
        map(DEFINED_IN_STEP.search, (*claim.previous, claim.step))
    )
    if is_defined or any(map(is_other_arithmetic, texts)):
        yield ORDINARY_ARITHMETIC
    is_quoted = REFUTATION.search(claim.step) or REPORTED.search(claim.step)
    if is_quoted or any(map(CONTRADICTION.search, texts)):
        yield NOT_QUOTED
    if TRIED.search(claim.step):
        yield NOT_TRIED


def is_in_question(claim: StepClaim, statement: str) -> bool:
    """Return whether the question contains a statement: an option that the step repeats."""
    question = claim.question[:MAX_QUESTION_CHARS]
    return "".join(statement.split()) in "".join(question.split())


def is_other_arithmetic(text: str) -> bool:
    """Return whether another arithmetic than that of plain numbers may be meant."""
    return bool(OTHER_ARITHMETIC.search(text) or OTHER_SYSTEM.search(text))


def may_continue(claim: StepClaim) -> bool:
    """Return whether a formula may begin in the step before: the step is cut inside a sum."""
    if not claim.previous:
        return False
    end = claim.previous[-1][-END_CHARS:]
    if UNFINISHED.search(end):
        return True
    return bool(NUMBER_AT_END.search(end) and SIGN_AT_START.match(claim.step))


def is_calendar(claim: StepClaim) -> bool:
    """Return whether the text is about a clock, a calendar or angles."""
    return bool(CALENDAR.search(claim.question) or CALENDAR.search(claim.step))


def start_again(claim: StepClaim, value: Fraction, shown: Fraction) -> bool:
    """Return whether a value may be shown as what is left of it on a clock, or as last digits."""
    for pattern, periods in PERIODS:
        if not (pattern.search(claim.question) or pattern.search(claim.step)):
            continue
        for period in periods:
            if abs(shown) <= period and (value - shown) % period == 0:
                return True
    return False


def may_be_rounded(claim: StepClaim, number: Fraction) -> bool:
    """Return whether a number ends with a zero in a text about rounding."""
    text = f"{claim.question} {claim.step}".lower()
    return number % 10 == 0 and not ROUNDING.isdisjoint(WORD.findall(text))
