"""Suspect what a step says about rounding: `161.7, rounded to the nearest whole number, is 161`.

The number is the decimal directly before the words. What is false is a suspicion: a step may round
a value that it does not show, or round up because half a bus is no bus.

What is not covered: percentages, angles and times, which may change their unit; rounding up or
down, significant digits, fractions, powers of ten in words.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from verifiers.math.findings import HOLDS, StepJudgement, false

ROUNDED = "rounded number"

PLACES: Mapping[str, Fraction] = {
    "whole number": Fraction(1),
    "integer": Fraction(1),
    "whole": Fraction(1),
    "unit": Fraction(1),
    "dollar": Fraction(1),
    "ten": Fraction(10),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "tenth": Fraction(1, 10),
    "hundredth": Fraction(1, 100),
    "cent": Fraction(1, 100),
    "thousandth": Fraction(1, 1000),
}
NUMBER = r"(?<![\w.,^_])(\d{1,9}(?:,\d{3})*(?:\.\d{1,12})?)(?![\d,]*\d|\w|\^| ?[-+*/×·^])"
# No operator joins the decimal to something before it.
DECIMAL = (
    r"(?<![\w.,^_])(?<![-+*/×·^] )(?<![-+*/×·^])(\d{1,9}(?:,\d{3})*\.\d{1,12})"
    r"(?![\d\w]|\^| ?[-+*/×·^]|\.\.)"
)
# What may be between numbers and words: delimiters, one unit, a bracket.
GAP = r"(?:\s|[$\\()\[\],.:;=]|\\approx|≈|\\text\{[^{}]{0,20}\}|%|°){0,12}"
PLACE = "|".join(sorted(PLACES, key=len, reverse=True))
ROUNDS = (
    r"[Rr]ound(?:ing|ed|s)? (?:this |it |that |the (?:answer|result|number|value) )?(?:off )?"
    rf"to the nearest ({PLACE})s?\b"
)
AFTER = (
    r",? ?(?:(?:we (?:get|have|find|obtain)|gives(?: us)?|is|yields|it is|this is|it becomes"
    r"|the (?P<noun>(?:\w+ ){1,3})is(?: approximately| about)?|this gives(?: us)?"
    r"|approximately)[: ]){0,2}"
)
OF_SAME_VALUE = frozenset(["answer", "result", "value", "number"])
# So many characters before a decimal may name what it is the value of.
MAX_BEFORE = 200
LARGE_UNIT = re.compile(r"\b(?:hundred|thousand|[mb]illion)s? ?\}")
STATEMENT = re.compile(rf"{DECIMAL}{GAP}(?:[Ww]hen |[Bb]y )?{ROUNDS}{AFTER}{GAP}{NUMBER}")


def rounded_numbers(text: str) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what a text says about rounding, with the judgements."""
    if "ound" not in text:
        return
    for match in STATEMENT.finditer(text):
        if _is_of_other_value(text, match):
            continue
        value, place, _, rounded = match.groups()
        exact = Fraction(value.replace(",", ""))
        shown = Fraction(rounded.replace(",", ""))
        statement = " ".join(match[0].split())
        unit = PLACES[place.lower()]
        # `12.345`, rounded to the nearest cent, may be 1235 cents.
        if shown == exact or (place.lower() == "cent" and shown >= 50 * exact):
            continue
        if abs(exact - shown) <= unit / 2 and shown % unit == 0:
            yield statement, HOLDS
        else:
            nearest = round(exact / unit) * unit
            yield statement, false(ROUNDED, f"the nearest {place} is {float(nearest):g}")


def _is_of_other_value(text: str, match: re.Match[str]) -> bool:
    """Return whether the rounded number may be another value: `3.6. ..., the perimeter is 14`."""
    if LARGE_UNIT.search(match[0]):
        return True
    noun = (match["noun"] or "").strip()
    if not noun or noun.split()[-1] in OF_SAME_VALUE:
        return False
    return noun not in text[max(0, match.start() - MAX_BEFORE) : match.start()]
