r"""Whether a final answer equals the reference: exactly as numbers, or as the same text.

    1,000 = 1000.0 = \$1000        1/2 = 0.5 = 50% = \frac12        0.1 ≠ 0.10000001        5 hours ? 300 minutes

Equal texts are equal up to case, spacing, `$…$`, `\text{…}` and a last period. Numbers are compared without rounding. A unit, and a
percent sign, may be missing on one side; two different units are unknown.

What is not covered, and so unknown: any other equivalence (algebra, sets, intervals, irrational numbers, mixed numbers, number words,
unit conversion, `x = 5` for `5`, option letters), which needs a deeper verifier. A reference without a unit is taken to be in the
answer's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from stepmark.records import Verdict
from verifiers._expressions import Node, leaves, parse, value
from verifiers._tokens import tokens
from verifiers.base import AnswerClaim, Finding, StepClaim

__all__ = ["Answers"]

MAX_CHARS = 2_000
DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
SPELLINGS: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[!,;:]"), ""),
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([^\w\s\\]) ?"), r"\1"),
]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Compares exact rational numbers and texts; symmetric."""

    version: ClassVar[int] = 1

    def verify(self, claim: AnswerClaim | StepClaim) -> Finding:
        """Incorrect only when both are numbers, and different ones."""
        if not isinstance(claim, AnswerClaim):
            return Finding(verdict=Verdict.UNKNOWN, reason="not an answer")
        if max(len(claim.answer), len(claim.reference)) > MAX_CHARS:
            return Finding(verdict=Verdict.UNKNOWN, reason="too long")
        answer, reference = _plain(claim.answer), _plain(claim.reference)
        if not answer or not reference:
            return Finding(verdict=Verdict.UNKNOWN, reason="empty")
        if answer == reference:
            return Finding(verdict=Verdict.CORRECT, reason="the same text")
        return _compared(_number(claim.answer), _number(claim.reference))


def _plain(text: str) -> str:
    """The text without what does not matter."""
    text = _unwrapped(text.strip().removesuffix(".").strip())
    for pattern, spelling in SPELLINGS:
        text = pattern.sub(spelling, text)
    return _unwrapped(text.strip().removesuffix(".")).casefold()


def _unwrapped(text: str) -> str:
    for opening, closing in DELIMITERS:
        inner = text[len(opening) : -len(closing)]
        if text == opening + inner + closing and closing not in inner:
            return inner.strip()
    return text


def _number(text: str) -> Node | None:
    """The text as one closed expression."""
    words = tokens(_unwrapped(text.strip()).removesuffix("."))
    read = parse(words)
    return read[0] if read is not None and read[1] == len(words) else None


def _compared(answer: Node | None, reference: Node | None) -> Finding:
    if answer is None or reference is None:
        return Finding(verdict=Verdict.UNKNOWN, reason="different texts, not both numbers")
    of_answer, of_reference = _units(answer), _units(reference)
    if not (of_answer <= of_reference or of_reference <= of_answer):
        return Finding(verdict=Verdict.UNKNOWN, reason="different units")
    values, references = _values(answer), _values(reference)
    if not values or not references:
        return Finding(verdict=Verdict.UNKNOWN, reason="no value")
    one_percent_sign = _percent(answer) is not _percent(reference)
    if values[0] == references[0] or (one_percent_sign and not set(values).isdisjoint(references)):
        return Finding(verdict=Verdict.CORRECT, reason="equal numbers")
    return Finding(verdict=Verdict.INCORRECT, reason="different numbers")


def _values(node: Node) -> Sequence[Fraction]:
    """With percent signs as hundredths, and with percent signs as a unit that the other side leaves out."""
    readings = (value(node, percent_is_hundredth=hundredth) for hundredth in (True, False))
    return [reading for reading in readings if reading is not None]


def _percent(node: Node) -> bool:
    return any(literal.percent for literal in leaves(node))


def _units(node: Node) -> frozenset[str]:
    return frozenset(word for literal in leaves(node) for word in literal.unit)
