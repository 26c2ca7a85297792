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
    r"|verify|verifying|check|checking"
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
OTHER_SYSTEM = re.compile(
    r"\b(?:boolean|bitwise|xor|nand|nor|GF ?\(|finite field|field with|residues?|legendre"
    r"|0x[0-9a-f]+|nim|characteristic \d|dual numbers|split-complex|hyperbolic|half-?adders?"
    r"|concatenat\w*|juxtapos\w*|side by side|(?:in|as) (?:units|multiples) of)\b"
    r"|GF\(|\b(?:true|false) ?[+*×·∧∨]|\b[ZF](?: ?/ ?\d|_)",
    re.IGNORECASE,
)
CALENDAR = re.compile(
    r"\b(?:clocks?|hours?|o'clock|noon|midnight|days?|weeks?|dates?|months?|calendar|angles?|degrees?"
    r"|january|february|march|april|june|july|august|september|october|november|december"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b",
    re.IGNORECASE,
)
# Words for numbers that start again, with the differences after which they do.
PERIODS = (
    (CALENDAR, (7, 12, 24, 28, 29, 30, 31, 60, 360, 365)),
    # Only the last digits of a number are written, or what is left after a carry.
    (re.compile(r"\bdigits?\b|\bcarry(?:ing)? (?:the )?(?:\d|one\b)|\ba carry\b", re.I), (10, 100, 1000)),
    (re.compile(r"\bparit(?:y|ies)\b|\bodd ?\+ ?(?:odd|even)\b", re.IGNORECASE), (2,)),
    (re.compile(r"\bdigital roots?\b|\bnines\b", re.IGNORECASE), (9,)),
)
# Words with which a step quotes what somebody else says.
REPORTED = re.compile(
    r"\b(?:claims?|claimed|wrote|writes|thought|thinks|believe[ds]?|some say|miscalculat\w*"
    r"|misread\w*|slogan|(?:student|pupil)s? (?:\w+ )?(?:computed|found|got|said)"
    r"|is what \w+ (?:got|said))\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[a-z]+")
ROUND_NUMBERS = re.compile(
    r"\b(?:in|to) round (?:numbers|figures)\b|\bexact (?:numbers?|values?|figures?)\b", re.IGNORECASE
)
CONTRADICTION = re.compile(r"\b(?:contradict\w*|contrary|absurd\w*)\b", re.IGNORECASE)
# The end of a step whose formula continues in the next one.
UNFINISHED = re.compile(r"(?:[-+*/^=×÷·(\[{<>≤≥&]|\\(?:cdot|times|div|[lc]?dots)|\\\\)[\s$&]*$")
NUMBER_AT_END = re.compile(r"\d[\s$]*$")
SIGN_AT_START = re.compile(r"\s*[-+*/×÷·−–]")
# The last characters of a step are searched for its end.
END_CHARS = 40


def of_claim(claim: StepClaim) -> Iterator[str]:
    """Yield what a rule assumes about the words of a step and of those before it."""
    texts = (claim.question, *claim.previous, claim.step)
    is_defined = DEFINED_OPERATION.search(claim.question) is not None
    if is_defined or any(map(is_other_arithmetic, texts)):
        yield ORDINARY_ARITHMETIC
    is_quoted = REFUTATION.search(claim.step) or REPORTED.search(claim.step)
    if is_quoted or any(map(CONTRADICTION.search, texts)):
        yield NOT_QUOTED
    if TRIED.search(claim.step):
        yield NOT_TRIED


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


def differ_by_period(claim: StepClaim, difference: Fraction) -> bool:
    """Return whether numbers that start again are the same: hours, days, degrees, last digits."""
    if difference.denominator != 1:
        return False
    for pattern, periods in PERIODS:
        if pattern.search(claim.question) or pattern.search(claim.step):
            if any(difference % period == 0 for period in periods):
                return True
    return False


def may_be_rounded(claim: StepClaim, number: Fraction) -> bool:
    """Return whether a number may be rounded more than its digits show.

    The question or the step is about rounding, and the number ends with a zero. Decimals may be
    rounded if other numbers are the exact ones.
    """
    for text in (claim.question, claim.step):
        if number % 10 == 0 and not ROUNDING.isdisjoint(WORD.findall(text.lower())):
            return True
        if ROUND_NUMBERS.search(text):
            return True
    return False
