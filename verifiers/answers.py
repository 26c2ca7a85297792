r"""Decide whether a final answer equals the reference: exactly, and form by form.

    1,000 = 1000.0 = \$1000      1/2 = 0.5 = 50% = \frac12 = \frac{2}{4}      0.1 ≠ 0.10000001
    x = 5 is 5      2\frac12 = 2.5      \{1, 2\} = \{2, 1\}      (1, 2) ≠ (2, 1)      (A) = A. ≠ B
    \frac{\sqrt7}{14} = \frac{1}{2\sqrt7}      (x+1)^2 = x^2 + 2x + 1      2x - y = 3 is y = 2x - 3
    [0, 1) ≠ [0, 1]      5 hours = 300 minutes      0.33 ? 1/3      2.4444444444444446 = 22/9
    2e-05 = 0.00002      x = 5, y = 2 is (5, 2)     2 < x < 7 is (2, 7)      12.500 ? 12,500
    3-1 ? 2     2024-05-01 ≠ 2024-01-05     1.5 million = 1500000     312_4 ≠ 313_4     $5 ? €5

Correct: equal texts, except for spacing, `$…$`, `\text{…}` and the capitals of a word; equal
rational numbers; a decimal of 12 to 17 digits and what it is the double of; and forms that are
equal part by part (see `verifiers.answer_forms`). Expressions
that are not rational numbers must be equal twice: in exact or interval arithmetic on the project's
own reading, and according to math-verify.

Incorrect: two closed values that differ, or parts in the same place of the same form; two formulas
in one variable that differ wherever both are defined; two linear equations that are no multiples;
two linear inequalities, unless whole numbers may not distinguish them; two options, days, months,
yes and no.

Unknown: everything else. A percent sign or a unit may be missing on one side. Different units are
converted (see `verifiers.answer_forms.measures`), or unknown without one exact ratio, as is a
number without a unit that may be one in another unit; a decimal that may be the other value,
rounded; a list in another order; a formula in several variables, or in one that may be a
parameter; a point that may be an interval; and what math-verify does not confirm. A text that
can be read in two ways is unknown unless all readings agree: a hyphen may be a minus sign, a range,
a score or a part of a date, a dot or a comma may group thousands, a colon may be a time or a ratio,
square brackets may be a floor, a plain angle may be in degrees. Different currencies are unknown,
as is a currency and a percentage.

Texts that are completely in the notation of Python, SymPy or Maxima (`x**2 + 2*x`, `%e^(%i*t)`,
`x < -3 or 1 < x`, `sum(k^2,k,1,n)`, `not A or B`) are judged as such where all of this is
undecided: see `verifiers.program_answers.judging`.

A sentence counts as the only value that it asserts, if no word in it denies, bounds or weakens it.
The end of a worked text can confirm a value (see `verifiers.answer_forms.conclusions`). One number
is not several different ones, and no unbounded set. Sets of names in capitals differ if they have
only some names in common.

What is not covered: equality under the conditions of the problem, integrals, infinite sums, a
number in another base without its base, conditions (`n \ge 2`) next to a value. A reference without
a unit is assumed to have the unit of the answer.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from stepmark.records import Verdict
from verifiers.answer_forms import notation
from verifiers.answer_forms.conclusions import concluded_value
from verifiers.answer_forms.decimals import LOST_PRECISION, is_double, literal, near
from verifiers.answer_forms.measures import judge_measures, measure_of
from verifiers.arithmetic_rules.equality import has_percent_sign, mixes_percentages, units_of
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim
from verifiers.math.dialects.arithmetic import parse, tokens
from verifiers.math.exact import exact_value
from verifiers.math.findings import Judgement
from verifiers.math.lexicon import FACTORS_BY_FAMILY, FAMILIES, SHORT_UNITS, singular
from verifiers.math.syntax import Tree, UndefinedError, UnreadError, numbers, signed_number

if TYPE_CHECKING:
    from verifiers.answer_forms.forms import Form

__all__ = ["Answers"]

MAX_CHARS = 2_000
# Without one of these signs or words, no answer is in the notation of programs.
PROGRAM_SIGN = re.compile(
    r"[*^%#<>=&|~]|[A-Za-z]{2}\(|\{[A-Za-z]\w*\[|\b(?:and|or|not|xor|implies)\b"
)
DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
# Replacements that do not change the meaning of an answer.
SPELLINGS: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[!,;:]"), ""),
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\s+"), " "),
    # `1, 234` is two numbers, `1,234` is one.
    (re.compile(r"(?<=\d)(?: ,|, | , )(?=\d{3}(?!\d))"), ";"),
    (re.compile(r" ?([^\w\s\\.]) ?"), r"\1"),
]
FACTORS_OF_UNITS = set().union(*FACTORS_BY_FAMILY.values())
LETTERS = re.compile(r"[^\W\d_]+")
# Units that may follow a digit without a space.
UNITS = "|".join(sorted([*FAMILIES, *SHORT_UNITS, "st", "nd", "rd", "th", "mph", "g", "percent"]))
# A variable `x` that would be read as "times", a comma that may separate two numbers, and words
# that change the value of a number.
NOT_A_NUMBER = re.compile(
    r"(?<![A-Za-z\\])x(?![A-Za-z])"
    r"|[(\[]\s*\d{1,3}(?:,\d{3})+\s*[)\]]"
    r"|\b(?:base|binary|ternary|octal|hexadecimal|below|under|negative|fold|ago|loss|debt|least|most|tens|scores?"
    r"|factorial|past|short|except|lakhs?|crores?|grand|bn|mn|halves|third|quarters?"
    r"|(?:\w*(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|teen|tie|hundred|thousand|illion))ths?"
    r"|\w*thirds)\b"
    # An ellipsis, the imaginary unit, names in brackets or behind a digit, and floor brackets.
    r"|\.\.|…|dots|(?<![A-Za-z\\])[ij](?![A-Za-z])|[\d})]\([A-Za-z]"
    rf"|\d(?!(?:{UNITS})(?![A-Za-z]))(?!%)[A-Za-z]"
    r"|\[[^\[\],;]*\d[^\[\],;]*\]",
    re.IGNORECASE,
)
FLOOR_BRACKETS = re.compile(r"(?<!sqrt)(?<!\\)\[[^\[\],;&]*\d[^\[\],;&]*\](?!\()")
# Points and other names in capitals behind a number are factors and no units.
NAMES_BEHIND_NUMBER = re.compile(r"\d ?[A-Z]{2,4}\b")
CURRENCY = re.compile(
    r"(\$|€|£|¥|₹|%)|(?i:\b(dollar|euro|pound sterling|yen|rupee|yuan|cent|buck)s?\b)"
)
CURRENCY_NAMES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
CURRENCY_NAMES |= {"buck": "dollar", "pound sterling": "pound", "cent": "dollar"}
# Words that state in which direction a number counts.
DIRECTION = re.compile(
    r"\b(?:more|less|fewer|greater|smaller|higher|lower|taller|shorter|older|younger|faster|slower"
    r"|early|earlier|late|later|before|after|ahead|behind|up|down|above|north|south|east|west"
    r"|profit|gain|clockwise|counterclockwise)\b",
    re.IGNORECASE,
)
FACTORS = frozenset([3, 4, 5, 20, 36, 144, 1_728, 5_280, 100_000, 604_800, *FACTORS_OF_UNITS])
"""Factors between units of one family, and between their squares."""
FACTORS_OF_AREAS = FACTORS | {27, 640, 4_840, 10_000, 43_560, 46_656}
"""Factors between acres, hectares and volumes."""
# The word "square" is read as a formula, whose units are compared elsewhere.
AREAS = frozenset(["cubic", "acre", "hectare"])
UNIT_WORDS = FAMILIES.keys() | {"in", "yd", "hr", "gal", "pt", "qt", "acre", "hectare"}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A symmetric comparison of numbers, formulas, lists, intervals, matrices, options, words."""

    version: ClassVar[int] = 7

    def verify(self, claim: Claim) -> Finding:
        """Return the finding; a reference is correct if other answers can be compared with it."""
        if isinstance(claim, ReferenceClaim):
            verdict, reason = _judge_reference(claim.reference)
            if verdict is Verdict.UNKNOWN and _is_program(claim.reference):
                verdict = Verdict.CORRECT
                reason = "the notation of programs"
        elif isinstance(claim, AnswerClaim):
            verdict, reason = _judge(claim.answer, claim.reference)
            if verdict is Verdict.UNKNOWN:
                verdict, reason = _judge_programs(claim, reason)
        else:
            verdict = Verdict.UNKNOWN
            reason = "not an answer"
        return Finding(verdict=verdict, reason=reason)


def _is_program(reference: str) -> bool:
    """Return whether a reference is in the notation of programs."""
    if not PROGRAM_SIGN.search(reference):
        return False
    from verifiers.program_answers.judging import is_program

    return is_program(_unwrap(reference).strip("`"))


def _judge_programs(claim: AnswerClaim, reason: str) -> Judgement:
    """Judge texts in the notation of programs, which another reading has not decided."""
    answer = _unwrap(claim.answer).strip("`")
    reference = _unwrap(claim.reference).strip("`")
    if not (PROGRAM_SIGN.search(answer) or PROGRAM_SIGN.search(reference)):
        return Verdict.UNKNOWN, reason
    # Imported on use, as the modules for forms are.
    from verifiers.program_answers.judging import judge_programs

    return judge_programs(answer, reference) or (Verdict.UNKNOWN, reason)


def _judge(answer: str, reference: str) -> Judgement:
    if max(len(answer), len(reference)) > MAX_CHARS:
        return Verdict.UNKNOWN, "too long"
    answer = notation.normalized(_unwrap(answer))
    reference = notation.normalized(_unwrap(reference))
    plain = _plain(answer)
    plain_reference = _plain(reference)
    if not plain or not plain_reference:
        return Verdict.UNKNOWN, "empty"
    if _is_same_text(plain, plain_reference):
        return Verdict.CORRECT, "the same text"
    left = notation.compound_of(answer)
    right = notation.compound_of(reference)
    judgement = notation.judge_compounds(left, right) or _judge_readings(answer, reference)
    if judgement[0] is Verdict.UNKNOWN:
        return _judge_conclusions(answer, reference) or judgement
    return judgement


def _judge_conclusions(answer: str, reference: str) -> Judgement | None:
    """Judge a worked text by what it states at its end: an option, or a number that agrees."""
    concluded = concluded_value(answer)
    concluded_reference = concluded_value(reference)
    if concluded is None and concluded_reference is None:
        return None
    judgement = _judge_readings(concluded or answer, concluded_reference or reference)
    if judgement[0] is Verdict.CORRECT:
        return judgement
    # The number of a sentence may be another one than the answer, but an option is the answer.
    are_options = (concluded or "A").isalpha() and (concluded_reference or "A").isalpha()
    if are_options:
        return judgement
    return None


def _judge_readings(answer: str, reference: str) -> Judgement:
    """Judge the first reading of both texts, then the other ones."""
    first = _judge_texts(answer, reference)
    if first[0] is Verdict.CORRECT:
        return first
    others = list[tuple[Judgement, bool]]()
    for text, is_as_likely in notation.other_readings(answer):
        others.append((_judge_texts(text, reference), is_as_likely))
    for text, is_as_likely in notation.other_readings(reference):
        others.append((_judge_texts(answer, text), is_as_likely))
    for other, is_as_likely in others:
        if other[0] is Verdict.CORRECT and is_as_likely:
            return other
        if other[0] is not Verdict.INCORRECT and first[0] is Verdict.INCORRECT:
            return Verdict.UNKNOWN, "a number that can be read in two ways"
    return first


def _judge_texts(answer: str, reference: str) -> Judgement:
    answer = notation.in_digits(answer)
    reference = notation.in_digits(reference)
    judgement = judge_measures(answer, reference)
    if judgement is not None:
        return judgement
    directions = _directions(answer)
    reference_directions = _directions(reference)
    if directions and reference_directions and directions != reference_directions:
        return Verdict.UNKNOWN, "words that differ"
    if _have_different_currencies(answer, reference):
        return Verdict.UNKNOWN, "different currencies"
    number = _number(answer)
    reference_number = _number(reference)
    if number is not None and reference_number is not None:
        judgement = _compare(
            number,
            reference_number,
            is_directed=bool(directions or reference_directions),
            may_be_converted=_units_in(answer) != _units_in(reference),
        )
        if judgement is not None:
            return judgement
    return _compare_forms(answer, reference)


def _have_different_currencies(answer: str, reference: str) -> bool:
    """Return whether both state a currency, and not the same, or one a percentage instead."""
    currencies = _currencies(answer)
    reference_currencies = _currencies(reference)
    return bool(currencies and reference_currencies and currencies != reference_currencies)


def _currencies(text: str) -> set[str]:
    names = set[str]()
    for sign, word in CURRENCY.findall(text):
        names.add(CURRENCY_NAMES.get(sign or word.lower().removesuffix("s"), word.lower()))
    return names


def _judge_reference(reference: str) -> Judgement:
    if len(reference) > MAX_CHARS:
        return Verdict.UNKNOWN, "too long"
    reference = notation.normalized(_unwrap(reference))
    if not _plain(reference):
        return Verdict.UNKNOWN, "empty"
    compound = notation.compound_of(reference)
    reference = notation.in_digits(reference)
    if compound is not None:
        return Verdict.CORRECT, compound.kind
    if measure_of(reference) is not None:
        return Verdict.CORRECT, "a number with units"
    number = _number(reference)
    if number is not None and exact_value(number) is not None:
        return Verdict.CORRECT, "a number"
    return _judge_form(reference)


# The modules for forms are imported on first use: most answers are numbers, and mpmath alone takes
# half a second to import.
def _compare_forms(answer: str, reference: str) -> Judgement:
    from verifiers.answer_forms.equivalence import equivalent

    if FLOOR_BRACKETS.search(answer) or FLOOR_BRACKETS.search(reference):
        return Verdict.UNKNOWN, "square brackets may be a floor"
    try:
        return equivalent(_form(answer), _form(reference))
    except UnreadError as error:
        return Verdict.UNKNOWN, f"different texts, not both understood: {error}"
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"


def _form(text: str) -> "Form":
    """Return the form of an answer, or of the only value that a sentence asserts."""
    from verifiers.answer_forms.reading import form_of

    text = _unwrap(text)
    try:
        return form_of(text)
    except UnreadError:
        value = notation.asserted_value(text)
        if value is None:
            raise
        return form_of(_unwrap(value))


def _judge_form(reference: str) -> Judgement:
    from verifiers.answer_forms.equivalence import all_have_values

    try:
        form = _form(reference)
        if all_have_values(form):
            return Verdict.CORRECT, type(form).__name__.lower()
    except UnreadError as error:
        return Verdict.UNKNOWN, f"not understood: {error}"
    except UndefinedError:
        pass
    return Verdict.UNKNOWN, "no value"


def _plain(text: str) -> str:
    """Return the text without what does not change its meaning."""
    text = _unwrap(text)
    for pattern, spelling in SPELLINGS:
        text = pattern.sub(spelling, text)
    return _without_delimiters(_without_stop(text))


def _unwrap(text: str) -> str:
    """Return the text without delimiters and full stops around it."""
    return _without_stop(_without_delimiters(_without_stop(text)))


def _without_stop(text: str) -> str:
    """Return the text without a full stop at its end; an ellipsis stays."""
    text = text.strip()
    if text.endswith(".."):
        return text
    return text.removesuffix(".").strip()


def _without_delimiters(text: str) -> str:
    for opening, closing in DELIMITERS:
        inner = text[len(opening) : -len(closing)]
        if text == opening + inner + closing and closing not in inner:
            return inner.strip()
    return text


def _is_same_text(left: str, right: str) -> bool:
    """Return whether two texts are equal except for the capitals of words.

    `Friday` is `friday`, but `x` is not `X`, and `ABC` is not `abc`.
    """
    if left == right:
        return True
    if left.casefold() != right.casefold():
        return False
    pairs = zip(LETTERS.findall(left), LETTERS.findall(right), strict=False)
    return all(a == b or _is_same_word(a, b) for a, b in pairs)


def _is_same_word(left: str, right: str) -> bool:
    if len(left) != len(right):
        return False
    if len(left) > 3:
        return True
    # `No` is a word; other short words may be names.
    if len(left) < 3 and left.casefold() != "no":
        return False
    return left.capitalize() == right or right.capitalize() == left


def _directions(text: str) -> frozenset[str]:
    return frozenset([word.lower() for word in DIRECTION.findall(text)])


def _number(text: str) -> Tree | None:
    """Return the tree of a text that is one closed expression with at most one unit."""
    text = _unwrap(text)
    if NOT_A_NUMBER.search(text) or NAMES_BEHIND_NUMBER.search(text):
        return None
    words = tokens(text)
    parsed = parse(words)
    if parsed is None:
        return None
    tree, length = parsed
    if length < len(words) or mixes_percentages(tree):
        return None
    # `1/2 %` is a half percent, and no quotient of 1 and 2 %.
    if has_percent_sign(tree) and signed_number(tree) is None:
        return None
    units = {number.unit for number in numbers(tree) if number.unit}
    if len(units) < 2:
        return tree
    return None


def _units_in(text: str) -> set[str]:
    """Return the units that may convert, which the tree of a number may have lost."""
    return {singular(word) for word in LETTERS.findall(text)} & UNIT_WORDS


def _compare(
    answer: Tree, reference: Tree, *, is_directed: bool, may_be_converted: bool
) -> Judgement | None:
    """Compare two numbers; None if one of them has no rational value."""
    units = units_of(answer)
    reference_units = units_of(reference)
    if not (units <= reference_units or reference_units <= units):
        return Verdict.UNKNOWN, "different units"
    values = _values(answer)
    reference_values = _values(reference)
    if not values or not reference_values:
        return None
    value = values[0]
    reference_value = reference_values[0]
    if value == reference_value:
        return Verdict.CORRECT, "equal numbers"
    # A percent sign that one side leaves out is a unit.
    has_one_sign = has_percent_sign(answer) is not has_percent_sign(reference)
    if has_one_sign and not set(values).isdisjoint(reference_values):
        return Verdict.CORRECT, "equal numbers"
    if value == -reference_value and (is_directed or units or reference_units):
        return Verdict.UNKNOWN, "the opposite sign, with words"
    has_other_unit = not FAMILIES.keys().isdisjoint(units ^ reference_units)
    factors = FACTORS if AREAS.isdisjoint(units | reference_units) else FACTORS_OF_AREAS
    if (may_be_converted or has_other_unit) and _differ_by_factor(value, reference_value, factors):
        return Verdict.UNKNOWN, "a unit that may have been converted"
    return _judge_different(answer, reference, value, reference_value)


def _differ_by_factor(value: Fraction, other: Fraction, factors: Collection[int]) -> bool:
    """Return whether one value may be the other one in another unit of its family."""
    if value == 0 or other == 0:
        return False
    ratio = max(other / value, value / other)
    # One of them may be a rounded double.
    return any(abs(ratio - factor) <= factor * LOST_PRECISION for factor in factors)


def _judge_different(
    answer: Tree, reference: Tree, value: Fraction, reference_value: Fraction
) -> Judgement:
    """Judge two values that differ: one may be the other, rounded."""
    if is_double(answer) or is_double(reference):
        judgement = near(value, reference_value)
        if judgement is not None:
            return judgement
    distance = abs(value - reference_value)
    for rounded, exact in ((answer, reference), (reference, answer)):
        if _may_be_rounded(rounded, exact, distance):
            return Verdict.UNKNOWN, "equal when rounded"
    return Verdict.INCORRECT, "different numbers"


def _values(tree: Tree) -> Sequence[Fraction]:
    """Return the values with percent signs as hundredths, and as units."""
    values = list[Fraction]()
    for percent_is_hundredth in (True, False):
        value = exact_value(tree, percent_is_hundredth=percent_is_hundredth)
        if value is not None:
            values.append(value)
    return values


def _may_be_rounded(rounded: Tree, exact: Tree, distance: Fraction) -> bool:
    decimal = literal(rounded)
    if decimal is None:
        return False
    number = signed_number(rounded)
    if number is not None and not number.may_round(signed_number(exact)):
        return False
    tolerance = decimal.last_digit
    if number is not None and number.percent:
        tolerance /= 100
    return distance < tolerance
