r"""Whether a final answer equals the reference: exactly, form by form, and never on the word of one program alone.

    1,000 = 1000.0 = \$1000        1/2 = 0.5 = 50% = \frac12 = \frac{2}{4}        0.1 ≠ 0.10000001        5 hours ? 300 minutes
    x = 5 is 5        2\frac12 = 2.5        \{1, 2\} = \{2, 1\}        (1, 2) ≠ (2, 1)        [0, 1) ≠ [0, 1]        (A) = A. ≠ B
    \frac{\sqrt7}{14} = \frac{1}{2\sqrt7}        (x+1)^2 = x^2 + 2x + 1        2x - y = 3 is y = 2x - 3        0.33 ? 1/3

Correct: equal texts up to spacing, `$…$`, `\text{…}` and a word's capitals; equal rational numbers; and forms that are equal part by part
(see `_answers.forms`), where an expression that is not a rational number must be equal twice over: in exact or interval arithmetic on our
own reading (see `_answers.equivalence`), and according to math-verify.

Incorrect: two closed values that differ, or parts in the same place of the same form; two formulas in one variable that differ wherever
both are defined; two linear equations that are no multiples; two options, days, months, yes and no.

Unknown: all else. A percent sign or a unit may be missing on one side, but not two different units, nor a unit that another may stand for;
a decimal that may be the other value rounded; a list in another order; a formula in several variables, or in one that may be a parameter; a
point that may be an interval; whatever math-verify does not confirm.

What is not covered: what is equal only under the conditions of the problem, unit conversion, sums, integrals, other number bases,
conditions (`n \ge 2`) beside a value, answers in sentences. A reference without a unit is taken to be in the answer's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from stepmark.records import Verdict
from verifiers._answers.rounding import may_round
from verifiers.arithmetic_rules.doubts import mixes_percentages
from verifiers.math.lexicon import FAMILIES
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim
from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value as value
from verifiers.math.syntax import Tree as Node
from verifiers.math.syntax import numbers as leaves
from verifiers.math.syntax import signed_number as bare

__all__ = ["Answers"]

MAX_CHARS = 2_000
DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
SPELLINGS: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[!,;:]"), ""),
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"(?<=\d)(?: ,|, | , )(?=\d{3}(?!\d))"), ";"),  # two numbers, not the thousands of one
    (re.compile(r" ?([^\w\s\\.]) ?"), r"\1"),
]
LETTERS = re.compile(r"[^\W\d_]+")
NOT_A_NUMBER = re.compile(
    r"(?<![A-Za-z\\])x(?![A-Za-z])"
    r"|[(\[]\s*\d{1,3}(?:,\d{3})+\s*[)\]]"
    r"|\b(?:base|binary|ternary|octal|hexadecimal|below|under|ago|loss|debt|least|most|tenths?|hundredths?|thousandths?|millionths?"
    r"|lakhs?|crores?|grand|bn|mn)\b",
    re.IGNORECASE,
)
"""A name that a sloppy `x` for "times" may be, a comma that may part two numbers, words that change what a number says."""
OPPOSED = re.compile(
    r"\b(?:more|less|fewer|greater|smaller|higher|lower|taller|shorter|older|younger|faster|slower|early|earlier|late|later|before|after"
    r"|ahead|behind|up|down|above|north|south|east|west|profit|gain|clockwise|counterclockwise)\b",
    re.IGNORECASE,
)
"""Words beside a number that say in which direction it counts."""
FACTORS = frozenset(
    map(Fraction, (3, 4, 5, 7, 10, 12, 16, 20, 24, 36, 52, 60, 100, 365, 1_000, 1_440, 1_760, 2_000, 3_600, 5_280, 1_000_000))
)
"""Between units of one family: a number without its unit may be in another of them."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Compares numbers, formulas, lists, sets, tuples, intervals, matrices, equations, options and words; symmetric."""

    version: ClassVar[int] = 2

    def verify(self, claim: Claim) -> Finding:
        """Correct and incorrect only beyond doubt; of a `ReferenceClaim`, correct when other spellings could be compared with it."""
        if isinstance(claim, ReferenceClaim):
            return _found(*_of_reference(claim.reference))
        if not isinstance(claim, AnswerClaim):
            return _found(Verdict.UNKNOWN, "not an answer")
        return _found(*_judged(claim.answer, claim.reference))


def _found(verdict: Verdict, reason: str) -> Finding:
    return Finding(verdict=verdict, reason=reason)


def _judged(answer: str, reference: str) -> tuple[Verdict, str]:
    if max(len(answer), len(reference)) > MAX_CHARS:
        return Verdict.UNKNOWN, "too long"
    plain, of_reference = _plain(answer), _plain(reference)
    if not plain or not of_reference:
        return Verdict.UNKNOWN, "empty"
    if _same_text(plain, of_reference):
        return Verdict.CORRECT, "the same text"
    directions = _directions(answer), _directions(reference)
    if all(directions) and directions[0] != directions[1]:
        return Verdict.UNKNOWN, "words that differ"
    one, other = _number(answer), _number(reference)
    if one is not None and other is not None and (found := _compared(one, other, directed=any(directions))):
        return found
    return _by_form(answer, reference)


def _of_reference(reference: str) -> tuple[Verdict, str]:
    if len(reference) > MAX_CHARS:
        return Verdict.UNKNOWN, "too long"
    if not _plain(reference):
        return Verdict.UNKNOWN, "empty"
    number = _number(reference)
    if number is not None and value(number) is not None:
        return Verdict.CORRECT, "a number"
    return _form_has_value(reference)


def _by_form(answer: str, reference: str) -> tuple[Verdict, str]:
    """What is no pair of numbers: its modules are loaded when the first such pair comes."""
    from verifiers._answers.equivalence import equivalent
    from verifiers._answers.forms import form_of
    from verifiers._answers.tokens import UnreadError
    from verifiers._answers.values import UndefinedError

    try:
        return equivalent(form_of(_inner(answer)), form_of(_inner(reference)))
    except UnreadError as error:
        return Verdict.UNKNOWN, f"different texts, not both understood: {error}"
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"


def _form_has_value(reference: str) -> tuple[Verdict, str]:
    from verifiers._answers.equivalence import has_value
    from verifiers._answers.forms import form_of
    from verifiers._answers.tokens import UnreadError
    from verifiers._answers.values import UndefinedError

    try:
        form = form_of(_inner(reference))
        return (Verdict.CORRECT, type(form).__name__.lower()) if has_value(form) else (Verdict.UNKNOWN, "no value")
    except UnreadError as error:
        return Verdict.UNKNOWN, f"not understood: {error}"
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"


def _plain(text: str) -> str:
    """The text without what does not matter."""
    text = _inner(text)
    for pattern, spelling in SPELLINGS:
        text = pattern.sub(spelling, text)
    return _unwrapped(text.strip().removesuffix("."))


def _inner(text: str) -> str:
    return _unwrapped(text.strip().removesuffix(".").strip()).removesuffix(".").strip()


def _unwrapped(text: str) -> str:
    for opening, closing in DELIMITERS:
        inner = text[len(opening) : -len(closing)]
        if text == opening + inner + closing and closing not in inner:
            return inner.strip()
    return text


def _same_text(one: str, other: str) -> bool:
    """Equal, but for the capitals of words: `Friday` is `friday`, and `x` is not `X`, nor `ABC` `abc`."""
    if one == other:
        return True
    if one.casefold() != other.casefold():
        return False
    return all(a == b or _is_one_word(a, b) for a, b in zip(LETTERS.findall(one), LETTERS.findall(other), strict=False))


def _is_one_word(one: str, other: str) -> bool:
    if len(one) != len(other) or (len(one) < 3 and one.casefold() != "no"):
        return False
    return len(one) > 3 or one.capitalize() == other or other.capitalize() == one


def _directions(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in OPPOSED.findall(text))


def _number(text: str) -> Node | None:
    """The text as one closed expression."""
    text = _inner(text)
    if NOT_A_NUMBER.search(text):
        return None
    words = tokens(text)
    read = parse(words)
    if read is None or read[1] < len(words) or mixes_percentages(read[0]):
        return None
    return read[0] if len({literal.unit for literal in leaves(read[0]) if literal.unit}) < 2 else None


def _compared(answer: Node, reference: Node, *, directed: bool) -> tuple[Verdict, str] | None:
    """The verdict on two numbers; None when one of them has no rational value."""
    of_answer, of_reference = _units(answer), _units(reference)
    if not (of_answer <= of_reference or of_reference <= of_answer):
        return Verdict.UNKNOWN, "different units"
    values, references = _values(answer), _values(reference)
    if not values or not references:
        return None
    one_percent_sign = _percent(answer) is not _percent(reference)
    if values[0] == references[0] or (one_percent_sign and not set(values).isdisjoint(references)):
        return Verdict.CORRECT, "equal numbers"
    if values[0] == -references[0] and (directed or of_answer or of_reference):
        return Verdict.UNKNOWN, "the opposite sign, and words"
    doubt = _doubt(answer, reference, values[0], references[0])
    return (Verdict.UNKNOWN, doubt) if doubt else (Verdict.INCORRECT, "different numbers")


def _doubt(one: Node, other: Node, of_one: Fraction, of_other: Fraction) -> str:
    """Why two numbers that differ may be meant alike."""
    units = _units(one) ^ _units(other)
    if any(unit in FAMILIES for unit in units) and of_other and (of_one / of_other in FACTORS or of_other / (of_one or 1) in FACTORS):
        return "a unit that may be another"
    if _may_be_rounded(one, other, abs(of_one - of_other)) or _may_be_rounded(other, one, abs(of_one - of_other)):
        return "equal when rounded"
    return ""


def _may_be_rounded(shown: Node, exact: Node, distance: Fraction) -> bool:
    literal, whole = bare(shown), bare(exact)
    if literal is None or not may_round(literal.decimals, None if whole is None else whole.decimals):
        return False
    return distance < Fraction(1, 10**literal.decimals) / (100 if literal.percent else 1)


def _values(node: Node) -> Sequence[Fraction]:
    """With percent signs as hundredths, and with percent signs as a unit that the other side leaves out."""
    readings = (value(node, percent_is_hundredth=hundredth) for hundredth in (True, False))
    return [reading for reading in readings if reading is not None]


def _percent(node: Node) -> bool:
    return any(literal.percent for literal in leaves(node))


def _units(node: Node) -> frozenset[str]:
    return frozenset(word for literal in leaves(node) for word in literal.unit)
