r"""Notations of numbers and sentences around answers, as people and programs write them.

`normalized` replaces spellings that have one meaning: `2.5e-05`, `1 000`, `,\!`, `>=`, `percent`.
`other_readings` returns what else a text may mean: `12.500` may be 12500, `2,5` may be 2.5.
`compound_of` reads what looks like a difference and usually is none: dates, ranges, scores, times,
ratios and numbers in another base. `asserted_value` returns the only value in a sentence.

All patterns take linear time on the texts that `verifiers.answers` passes, of 2,000 characters.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.answer_forms.printed import readable
from verifiers.math import lexicon
from verifiers.math.findings import Judgement

# Longer texts are no sentences with one value.
MAX_SENTENCE = 300

SCIENTIFIC = re.compile(r"(?<![\w.\\}])(\d+(?:\.\d+)?|\.\d+)[eE]([+-]?)(\d{1,3})(?![\w.])")
TWO_BACKSLASHES = re.compile(r"\\\\(?=[A-Za-z]{2})")
REPLACEMENTS: Sequence[tuple[str, re.Pattern[str], str]] = [
    ("\\", re.compile(r"(?<!\\)\\$"), ""),
    ("\\!", re.compile(r"(?<=\d),\\!\s*(?=\d{3})"), ","),
    ("^", re.compile(r"\^\{([23])\}"), r"^\1"),
    (">=", re.compile(r">=(?!>)"), r"\\ge "),
    ("<=", re.compile(r"<=(?![=>])"), r"\\le "),
    ("per", re.compile(r"\\text\{ ?per ?cent\}|\bper ?cent\b"), r"\\%"),
    ("**", re.compile(r"(?<=[\w)])\*\*(?=[\w(-])"), "^"),
    ("10", re.compile(r"(?<=\d) ?[xX×] ?10 ?\^"), r"\\times 10^"),
    ("approx", re.compile(r"(?<=[\w)}]) ?\\approx ?-?\d+(?:\.\d+)?\.?$"), ""),
    ("≈", re.compile(r"(?<=[\w)}]) ?≈ ?-?\d+(?:\.\d+)?\.?$"), ""),
    # TeX reads `\quadx` as a command.
    ("quad", re.compile(r"\\(q?quad)(?=[a-z](?![a-z]))"), r"\\\1 "),
    ("_", re.compile(r"(?<=\d)_\{(\d{1,2})\}"), r"_\1"),
    ("array", re.compile(r"\\left *[\[(]\s*\\begin\{array\}\{[clr| ]*\}"), r"\\begin{pmatrix}"),
    ("array", re.compile(r"\\end\{array\}\s*\\right *[\])]"), r"\\end{pmatrix}"),
    (
        "\\{",
        re.compile(r"(?:\\left *)?\\\{ *\\begin\{(?:array\}\{[clr| ]*|aligned)\}"),
        r"\\begin{cases}",
    ),
    ("\\right", re.compile(r"\\end\{(?:array|aligned)\} *\\right *\."), r"\\end{cases}"),
    ("$", re.compile(r"^([\d.,]+) ?\\?\$$"), r"\\$\1"),
]
# What a closed value consists of, besides digits and signs. Other letters may be names.
CLOSED_PARTS = re.compile(
    r"\\(?:[dt]?frac|sqrt|pi|cdot|times|left|right|ln|log|sin|cos|tan)(?![A-Za-z])"
    r"|\\(?:text|textrm|mathrm|mbox) ?\{[^{}\\]*\}|(?<![A-Za-z])(?:e|pi|sqrt|ln|log)(?![A-Za-z])|π"
)
NAME_SIGN = re.compile(r"[^\W\d_]|_")
VALUE_SIGN = re.compile(r"\d|pi|π")
# Groups of thousands that no other notation uses.
GROUPED = re.compile(
    r"(?P<before>[-−]?\\?[$€£]? ?[-−]?)(?P<number>\d{1,3}(?:[ '’_\u00a0\u2009\u202f]\d{3})+"
    r"|\d{1,3}(?:\.\d{3}){2,}|\d{1,2}(?:,\d{2})+,\d{3})(?P<after>(?:,\d{1,2})?(?: ?[^\W\d_]+)*)"
)
# A group does not begin with zero, so this comma is a decimal one.
DECIMAL_COMMA = re.compile(r"[-−]?\\?[$€£]? ?0,\d{2,}(?: ?[€£$%]| ?\\[%$]| [^\W\d_]+)*")
DOT_GROUP = re.compile(
    r"[-−]?\\?[$€£]? ?[1-9]\d{0,2}\.\d{3}(?!\d)(?: ?[€£$%]| ?\\[%$]| [^\W\d_]+)*"
)
COMMA_NUMBER = re.compile(r"[-−]?\\?[$€£]? ?\d+,\d+(?!\d)(?: ?[€£$%]| ?\\[%$]| [^\W\d_]+)*")
LG = re.compile(r"\\lg(?![A-Za-z])")
AMBIGUOUS_EXPONENT = re.compile(r"(?<![\w.])(\d+)e-(\d)(?!\w)")

# `3 dozen eggs`, `$1.5 million`
SCALED = re.compile(
    r"(?P<before>[-−]?\\?[$€£]? ?)(?P<number>\d+(?:\.\d+)?) (?P<scale>dozen|hundred|thousand"
    r"|million|billion|trillion)(?P<after>(?: [^\W\d_]+){0,3})",
    re.IGNORECASE,
)
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1_000}
SCALES |= {"million": 10**6, "billion": 10**9, "trillion": 10**12}
REPEATING = re.compile(
    r"(?<![\w.,])(\d{1,30})\.(\d{0,30})"
    r"(?:\\overline\{(\d{1,30})\}|\((\d{1,30})\))"
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORD = re.compile(
    rf"({'|'.join(TENS)})(?:[- ]({'|'.join(lexicon.NUMBER_WORDS[1:10])}))?", re.IGNORECASE
)

DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
DATE_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
HYPHENS = re.compile(
    r"(?P<left>\\?[$€£]?\d(?:[\d.,]*\d)?)(?P<hyphen> ?[-–—] ?|--)"
    r"(?P<right>\\?[$€£]?\d(?:[\d.,]*\d)?)"
    r"(?P<more>(?:[-–—]\d+)*)(?P<unit>(?: ?\\?%| ?[^\W\d_]{2,}(?: [^\W\d_]+){0,4})?)"
)
COLONS = re.compile(
    r"(?:[^=\d]{0,30}=\s*)?(\d{1,6}(?:\s?:\s?\d{1,6}){1,3})(?P<unit> ?[^\W\d_.]*\.?m?\.?)"
)
RATIO_NAME = re.compile(r"^[^=]{1,60}:[^=]{1,60}=\s*(?=\d{1,6}\s?:)")
# A single letter with an index is a name: `a_12`.
BASED = re.compile(r"(-?)(?![A-Fa-f]_)([0-9A-Fa-f]{1,60})(?:\.([0-9A-Fa-f]{1,60}))?_(\d{1,2})")
# `June 20, 2020` and `20 June`, also with the first letters of the month.
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = r"(?P<month>[A-Z][a-z]{2,8})\.?"
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
DAY_IN_WORDS = (
    re.compile(rf"{MONTH} {DAY}(?:,? (?P<year>\d{{4}}))?"),
    re.compile(rf"(?:the )?{DAY}(?: of)? {MONTH}(?:,? (?P<year>\d{{4}}))?"),
)
MONTH_NAMES = frozenset(lexicon.VOCABULARIES[-1]) | frozenset(MONTHS) | {"sept"}
WHOLE_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox) ?\{([^{}\\]*)\}")


@dataclass(frozen=True, slots=True)
class Compound:
    """An answer of several numbers: its kind, its numbers as written, and the words behind it."""

    kind: str
    parts: tuple[str, ...]
    unit: str = ""
    spaced: bool = False

    @property
    def is_difference(self) -> bool:
        """Whether it is written like `5 - 2`, with spaces and the larger number first."""
        if self.kind != "hyphen" or not self.spaced or len(self.parts) != 2:
            return False
        numbers = _numbers(self.parts)
        return numbers is not None and numbers[0] > numbers[1]


def normalized(text: str) -> str:
    """Return the text in the notation that the dialects read."""
    text = readable(text)
    # JSON that was escaped twice; in matrices, two backslashes end a row.
    if "\\\\" in text and "\\begin" not in text:
        text = TWO_BACKSLASHES.sub(r"\\", text)
    for needle, pattern, replacement in REPLACEMENTS:
        if needle in text:
            changed = pattern.sub(replacement, text)
            # `x \approx 11` and `AB \approx 11` state nothing else than the rounded value.
            if needle in ("approx", "≈") and not _is_closed(changed):
                continue
            text = changed
    if DECIMAL_COMMA.fullmatch(text.strip()):
        text = text.replace(",", ".")
    grouped = GROUPED.fullmatch(text.strip())
    if grouped:
        digits = re.sub(r"\D", "", grouped["number"])
        text = grouped["before"] + digits + grouped["after"].replace(",", ".")
    return text


def _is_closed(text: str) -> bool:
    """Return whether the text, or what is behind its last equals sign, is a value without names."""
    value = text.rpartition("=")[2]
    if not VALUE_SIGN.search(value):
        return False
    return not NAME_SIGN.search(CLOSED_PARTS.sub(" ", value))


def _with_scale(text: str) -> str:
    """Return `1.5 million` and `twenty-one` in digits."""
    words = NUMBER_WORD.fullmatch(text)
    if words:
        tens = TENS.index(words[1].lower()) * 10 + 20
        return str(tens + lexicon.NUMBER_WORDS.index((words[2] or "zero").lower()))
    scaled = SCALED.fullmatch(text)
    if scaled is None:
        return text
    value = Fraction(scaled["number"]) * SCALES[scaled["scale"].lower()]
    if value.denominator != 1:
        return text
    return f"{scaled['before']}{value}{scaled['after']}"


def _repeating(match: re.Match[str]) -> str:
    whole, digits, *repeated = match.groups()
    period = repeated[0] or repeated[1]
    scale = 10 ** len(digits)
    value = Fraction(int(whole + digits), scale)
    value += Fraction(int(period), scale * (10 ** len(period) - 1))
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def in_digits(text: str) -> str:
    """Return the text with `2.5e-05` as a product, and `3 million` in digits."""
    text = _with_scale(text.strip())
    if "." in text:
        text = REPEATING.sub(_repeating, text)
    text = LG.sub(r"\\log_{10}", text)
    return SCIENTIFIC.sub(_scientific, text)


def _scientific(match: re.Match[str]) -> str:
    mantissa, sign, digits = match.groups()
    return rf"{mantissa}\times 10^{{{sign.replace('+', '')}{int(digits)}}}"


def other_readings(text: str) -> Sequence[tuple[str, bool]]:
    """Return other readings of an answer, each with whether it is as likely as the first.

    A reading that is as likely makes an answer correct; the others only make it unknown. Those of a
    sentence are those of the value that it asserts.
    """
    text = text.strip()
    text = asserted_value(text) or text
    readings = list[tuple[str, bool]]()
    if DOT_GROUP.fullmatch(text):
        readings.append((text.replace(".", ""), False))
    if COMMA_NUMBER.fullmatch(text):
        groups = re.search(r"(?<!\d)[1-9]\d{0,2},\d{3}(?!\d)", text)
        # `1,2` is rather a list.
        has_one_decimal = re.search(r",\d(?!\d)", text)
        readings.append((text.replace(",", "."), not groups and not has_one_decimal))
    scaled = SCALED.fullmatch(text)
    if scaled:
        # The question may ask for millions.
        readings.append((f"{scaled['before']}{scaled['number']}{scaled['after']}", False))
    if LG.search(text):
        # In computer science, the base is 2.
        readings.append((LG.sub(r"\\log_{2}", text), False))
    if AMBIGUOUS_EXPONENT.search(text):
        readings.append((AMBIGUOUS_EXPONENT.sub(r"\1e - \2", text), False))
    return readings


def compound_of(text: str) -> Compound | None:
    """Return the dates, ranges, scores, times, ratios and based numbers; else None."""
    text = text.strip().strip("$").strip()
    words = WHOLE_TEXT.fullmatch(text)
    if words:
        text = words[1].strip()
    for pattern in (DATE, DATE_YEAR_LAST):
        match = pattern.fullmatch(text)
        if match:
            parts = tuple([str(int(part)) for part in match.groups()])
            return Compound("date" if pattern is DATE else "date with the year last", parts)
    match = HYPHENS.fullmatch(text)
    if match:
        parts = (match["left"], match["right"])
        if match["more"]:
            parts += tuple(re.split("[-–—]", match["more"])[1:])
        return Compound("hyphen", parts, match["unit"].strip(), " " in match["hyphen"])
    match = COLONS.fullmatch(RATIO_NAME.sub("", text))
    if match:
        parts = tuple([part.strip() for part in match[1].split(":")])
        return Compound("colon", parts, match["unit"].strip(" .").lower().replace(".", ""))
    match = BASED.fullmatch(text)
    if match:
        sign, whole, decimals, base = match.groups()
        return Compound("base", (sign, whole.lower(), (decimals or "").lower(), str(int(base))))
    return _day_in_words(text)


def _day_in_words(text: str) -> Compound | None:
    for pattern in DAY_IN_WORDS:
        match = pattern.fullmatch(text)
        if match and match["month"].lower() in MONTH_NAMES:
            month = MONTHS.index(match["month"][:3].lower()) + 1
            parts = [str(month), str(int(match["day"]))]
            if match["year"]:
                parts.append(match["year"])
            return Compound("day", tuple(parts))
    return None


def _based_value(parts: Sequence[str]) -> Fraction | None:
    """Return the value of a number in a base; None if a digit does not exist in the base."""
    sign, whole, decimals, base = parts
    try:
        value = Fraction(int(whole + decimals, int(base)), int(base) ** len(decimals))
    except ValueError:
        return None
    if sign:
        return -value
    return value


def judge_compounds(left: Compound | None, right: Compound | None) -> Judgement | None:
    """Compare two answers of which at least one is compound; None if neither is."""
    if left is None and right is None:
        return None
    if left is None or right is None:
        compound = left or right
        assert compound is not None, "one of them is compound"
        # `5 - 2` is a number.
        return None if compound.is_difference else (Verdict.UNKNOWN, _doubt(compound))
    if left.kind == right.kind == "colon" and left.unit == right.unit:
        shorter, longer = sorted((left.parts, right.parts), key=len)
        # `20:34` is `20:34:00`.
        if len(shorter) == 2 and longer == (*shorter, "00"):
            return Verdict.CORRECT, "the same time"
    if left.kind != right.kind or len(left.parts) != len(right.parts):
        return Verdict.UNKNOWN, "different notations"
    if left.kind == "base":
        return _judge_based(_based_value(left.parts), _based_value(right.parts))
    if left.parts == right.parts and left.unit == right.unit:
        return Verdict.CORRECT, "the same numbers"
    if left.kind in ("date", "day"):
        return Verdict.INCORRECT, "different dates"
    if left.kind in ("hyphen", "colon") and _differ_in_all_readings(left, right):
        return Verdict.INCORRECT, "different numbers"
    return Verdict.UNKNOWN, _doubt(left)


def _judge_based(left: Fraction | None, right: Fraction | None) -> Judgement:
    if left is None or right is None:
        return Verdict.UNKNOWN, "a number in another base"
    if left == right:
        return Verdict.CORRECT, "the same number"
    return Verdict.INCORRECT, "different numbers"


def _differ_in_all_readings(left: Compound, right: Compound) -> bool:
    """Return whether two pairs differ as ranges, in reverse order, as differences and ratios."""
    if left.unit != right.unit or len(left.parts) != 2:
        return False
    a = _numbers(left.parts)
    b = _numbers(right.parts)
    if a is None or b is None or sorted(a) == sorted(b):
        return False
    return a[0] - a[1] != b[0] - b[1] and a[0] * b[1] != a[1] * b[0]


def _numbers(parts: Sequence[str]) -> Sequence[Fraction] | None:
    try:
        return [Fraction(part.lstrip("\\$€£").replace(",", "").rstrip(".")) for part in parts]
    except (ValueError, ZeroDivisionError):
        return None


def _doubt(compound: Compound) -> str:
    match compound.kind:
        case "hyphen":
            return "a hyphen may be a minus sign, a range or a score"
        case "colon":
            return "a colon may be a time or a ratio"
        case "base":
            return "a number in another base"
        case _:
            return "a date"


# Words that deny, bound, weaken or count: the value after them is not asserted as it is written.
NOT_ASSERTED = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|if|unless|whether|suppose|assum\w+|least|most|more|less"
    r"|fewer|than|between|about|approximately|around|roughly|nearly|almost|maybe|perhaps|possibly"
    r"|might|may|could|would|should|guess|except|but|or|and|twice|thrice|half|double|triple|times"
    r"|two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|thousand|million|wrong|incorrect"
    r"|negative|minus|other|none|nobody|nothing|opposite|inverse|reciprocal|complement|error|mistake"
    r"|previous|earlier|false|contradict\w*|impossible|first|second|third|step|loss|loses?|lost"
    r"|debt|deficit|below|ago|drop\w*|decreas\w+|declin\w+)\b|n['’]t\b",
    re.IGNORECASE,
)
FORMULA = re.compile(
    r"\$\$[^$]+\$\$|\$[^$]+\$|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\]", re.DOTALL
)
NAMING_FORMULA = re.compile(r"\$[A-Za-z' ]{1,40}\$|\\\( ?[A-Za-z' ]{1,40}\\\)")
BEFORE_FORMULA = re.compile(
    r"(?:[^\d$\\]*\b(?:is|are|equals?|equal to|that|get|have|obtain|find|gives?|yields?"
    r"|answer|therefore|thus|hence|so)"
    r"|[A-Za-z ]{1,40}:|)[:\s]*",
    re.IGNORECASE,
)
AFTER_FORMULA = re.compile(
    r"\s*(?:(?:is|as) (?:the|our|my) (?:final )?(?:answer|solution|result))?[\s.]*", re.IGNORECASE
)
SUBJECT = re.compile(r"[^\d.;!?]*\b(?:is|are|equals|equal to) +(?:equal to +)?", re.IGNORECASE)


def asserted_value(text: str) -> str | None:
    """Return the only value that a sentence asserts; None if it denies or weakens it."""
    text = text.strip()
    if len(text) > MAX_SENTENCE or " " not in text:
        return None
    # Formulas that only name what the sentence is about.
    if len(FORMULA.findall(text)) > 1:
        text = NAMING_FORMULA.sub("x", text)
    formulas = list(FORMULA.finditer(text))
    if len(formulas) == 1:
        formula = formulas[0]
        before = text[: formula.start()]
        after = text[formula.end() :]
        words = before + after
        is_denied = not words.strip(" .") or NOT_ASSERTED.search(words)
        is_statement = BEFORE_FORMULA.fullmatch(before) and AFTER_FORMULA.fullmatch(after)
        if is_statement and not is_denied:
            return formula[0]
    subject = SUBJECT.match(text)
    if subject is None or NOT_ASSERTED.search(text):
        return None
    value = text[subject.end() :]
    # A further word than a unit may change the value.
    if re.fullmatch(r"[^\s]*\d[^\s]*(?: [^\W\d_]+)?", value):
        return value
    return None
