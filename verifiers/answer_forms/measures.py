r"""Measures: numbers with units that convert exactly into others, such as `5 ft 3 in` and `90 min`.

Two measures of one dimension are compared by their values. Units without one exact ratio are not in
the table: months and days, tons, ounces of volume, kilobytes, coins. Temperatures are not linear.
A metric and an imperial measure that differ are unknown, because a problem may round the ratio.

All patterns take linear time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.answer_forms.decimals import DOUBLE_DIGITS, near
from verifiers.math.findings import Judgement
from verifiers.math.lexicon import words

# Longer texts are no measures, and more parts than hours, minutes and seconds are not usual.
MAX_CHARS = 120
MAX_PARTS = 3

INCH = Fraction(254, 10_000)
POUND = Fraction(45_359_237, 100_000_000)
MILE = INCH * 63_360
# The names of units by dimension, each with its size. A litre is a cubic decimetre.
SIZES: Mapping[str, Mapping[str, Fraction | int]] = {
    "time": {
        "second sec s": 1,
        "minute min": 60,
        "hour hr h": 3_600,
        "day": 86_400,
        "week wk": 7 * 86_400,
    },
    "age": {"month": 1, "year yr": 12},
    "length": {
        "millimeter millimetre mm": Fraction(1, 1_000),
        "centimeter centimetre cm": Fraction(1, 100),
        "decimeter decimetre dm": Fraction(1, 10),
        "meter metre m": 1,
        "kilometer kilometre km": 1_000,
        "inch in": INCH,
        "foot feet ft": INCH * 12,
        "yard yd": INCH * 36,
        "mile mi": MILE,
    },
    "length^2": {"hectare ha": 10_000, "acre": INCH**2 * 144 * 43_560},
    "length^3": {
        "milliliter millilitre ml": Fraction(1, 10**6),
        "liter litre l": Fraction(1, 1_000),
    },
    "mass": {
        "milligram mg": Fraction(1, 10**6),
        "gram g": Fraction(1, 1_000),
        "kilogram kg": 1,
        "ounce oz": POUND / 16,
        "pound lb": POUND,
    },
    # Their sizes differ between countries, their ratios do not.
    "pints": {"pint pt": 1, "quart qt": 2, "gallon gal": 8},
    "money": {"cent ¢": 1, "dollar buck": 100},
    "length per time": {"mph": MILE / 3_600, "kmh kph": Fraction(1_000, 3_600)},
}
IMPERIAL = words("inch in foot feet ft yard yd mile mi acre ounce oz pound lb mph")
# Variables as well: a unit only if the other measure has a longer name.
LETTERS = frozenset("smhgl")

SPELLINGS = (
    (re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox) ?\{([^{}\\]*)\}"), r" \1 "),
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[,!;: ]|~"), " "),
    (re.compile(r"\s+"), " "),
    (re.compile(r" (?=\^)"), ""),
)
NAME = re.compile(r"[A-Za-z] ?= ?")
# The currency, and a whole, mixed or decimal number or a fraction.
NUMBER = re.compile(
    r"(?P<sign>[-−]?)(?P<dollar>(?:\\?\$ ?)?)(?:"
    r"(?P<whole>\d{1,30}) (?P<upper>\d{1,9})/(?P<lower>\d{1,9})"
    r"|(?P<before>\d{0,30}) ?\\frac ?\{(?P<numerator>\d{1,9})\} ?\{(?P<denominator>\d{1,9})\}"
    r"|(?P<left>\d{1,30}) ?/ ?(?P<right>\d{1,9})"
    r"|(?P<decimal>\d{1,3}(?:,\d{3})+(?:\.\d{1,30})?|\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})"
    r")(?![.,]?\d) ?"
)
UNIT = re.compile(
    r"(?P<kind>square |sq\.? |cubic |cu\.? )?(?P<name>[A-Za-z]+|¢)"
    r"(?:\^?\{?(?P<power>[23²³])\}?)?\.?(?![A-Za-z\d^{\\])"
)
POWERS = {"sq": 2, "cu": 3, "2": 2, "3": 3, "²": 2, "³": 3}
PER = re.compile(r" ?(?:/|\bper\b) ?")
SEPARATOR = re.compile(r"(?:,? and |, | )?(?=[\d.\\])")
# `5 ft 3 in tall`
END = re.compile(r"(?: (?:tall|long|wide|high|deep))?")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as written: its dimension, the size of one, and its names."""

    dimension: str
    size: Fraction
    names: tuple[str, ...]


DOLLAR = Unit("money", Fraction(100), ("dollar",))


@dataclass(frozen=True, slots=True)
class Measure:
    """A value in the base unit of its dimension, and the units that it is written in."""

    value: Fraction
    last_digit: Fraction
    """The size of the last decimal place; 0 for whole numbers and fractions."""
    units: tuple[Unit, ...]
    is_double: bool = False
    """Whether the number has as many digits as a printed double."""

    @property
    def names(self) -> frozenset[str]:
        """The names of all units."""
        return frozenset().union(*(unit.names for unit in self.units))

    @property
    def dimension(self) -> str:
        """The dimension that all units have."""
        return self.units[0].dimension


def judge_measures(left_text: str, right_text: str) -> Judgement | None:
    """Compare two measures in different units; None for anything else."""
    left = measure_of(left_text)
    right = measure_of(right_text)
    if left is None or right is None or LETTERS.issuperset(left.names | right.names):
        return None
    if left.dimension != right.dimension:
        return Verdict.UNKNOWN, "units of different kinds"
    if len(left.units) == len(right.units) == 1 and left.names == right.names:
        return None
    if left.value == right.value:
        return Verdict.CORRECT, "equal after a conversion of units"
    if left.value == -right.value:
        return Verdict.UNKNOWN, "the opposite sign, with words"
    judgement = near(left.value, right.value) if left.is_double or right.is_double else None
    if judgement is not None:
        return judgement
    if IMPERIAL.isdisjoint(left.names) is not IMPERIAL.isdisjoint(right.names):
        return Verdict.UNKNOWN, "a metric and an imperial unit"
    if abs(left.value - right.value) < max(left.last_digit, right.last_digit):
        return Verdict.UNKNOWN, "equal when rounded, after a conversion of units"
    return Verdict.INCORRECT, "different after a conversion of units"


def measure_of(text: str) -> Measure | None:
    """Return the measure that a text is; None for anything else."""
    if len(text) > MAX_CHARS:
        return None
    for pattern, spelling in SPELLINGS:
        text = pattern.sub(spelling, text)
    text = text.strip()
    name = NAME.match(text)
    position = name.end() if name else 0
    parts = list[Measure]()
    while len(parts) < MAX_PARTS:
        part = _part(text, position, parts)
        if part is None:
            return None
        parts.append(part[0])
        position = part[1]
        if END.fullmatch(text, position):
            return _sum(parts)
        separator = SEPARATOR.match(text, position)
        if separator is None:
            return None
        position = separator.end()
    return None


def _part(text: str, position: int, before: Sequence[Measure]) -> tuple[Measure, int] | None:
    """Return the number with its unit at a position, and the position behind it."""
    number = NUMBER.match(text, position)
    # Only the first number has a sign.
    if number is None or (before and number["sign"]):
        return None
    unit, position = _unit(text, number.end())
    if number["dollar"]:
        if unit is not None:
            return None
        unit, position = _rate(text, number.end(), DOLLAR)
    if unit is None:
        return None
    # `1h 30m`
    if unit.names == ("m",) and before and before[-1].dimension == "time":
        unit = Unit("time", Fraction(60), ("min",))
    last_digit = Fraction(0)
    is_double = False
    if "." in (number["decimal"] or ""):
        last_digit = unit.size / 10 ** len(number["decimal"].partition(".")[2])
        is_double = len(re.sub(r"\D", "", number["decimal"]).lstrip("0")) in DOUBLE_DIGITS
    value = _number(number)
    if value is None:
        return None
    return Measure(value * unit.size, last_digit, (unit,), is_double), position


def _number(number: re.Match[str]) -> Fraction | None:
    """Return the value of a number; None if it divides by zero or is not mixed properly."""
    fields = number.groupdict()
    upper = fields["upper"] or fields["numerator"]
    lower = fields["lower"] or fields["denominator"]
    try:
        if fields["decimal"]:
            value = Fraction(fields["decimal"].replace(",", ""))
        elif fields["left"]:
            value = Fraction(int(fields["left"]), int(fields["right"]))
        else:
            value = Fraction(int(upper), int(lower))
            whole_part = fields["whole"] or fields["before"]
            if whole_part and value >= 1:
                return None
            value += int(whole_part or 0)
    except ZeroDivisionError:
        return None
    if fields["sign"]:
        return -value
    return value


def _unit(text: str, position: int) -> tuple[Unit | None, int]:
    """Return the unit at a position, which may be a rate, and the position behind it."""
    single, position = _single_unit(text, position)
    if single:
        return _rate(text, position, single)
    return (None, position)


def _rate(text: str, position: int, unit: Unit) -> tuple[Unit | None, int]:
    per = PER.match(text, position)
    if per is None:
        return unit, position
    lower, position = _single_unit(text, per.end())
    if lower is None:
        return None, position
    dimension = f"{unit.dimension} per {lower.dimension}"
    return Unit(dimension, unit.size / lower.size, unit.names + lower.names), position


def _single_unit(text: str, position: int) -> tuple[Unit | None, int]:
    match = UNIT.match(text, position)
    if match is None:
        return None, position
    name = _singular(match["name"])
    for dimension, sizes in SIZES.items():
        for names, size in sizes.items():
            if name in names.split():
                return _powered(dimension, Fraction(size), name, match), match.end()
    return None, position


def _singular(name: str) -> str:
    """Return the name of a unit as in the table."""
    if name in ("L", "mL") or len(name) > 2:
        name = name.lower()
    if name == "inches":
        return "inch"
    # `ms` is a millisecond.
    if len(name) > 2:
        return name.removesuffix("s")
    return name


def _powered(dimension: str, size: Fraction, name: str, match: re.Match[str]) -> Unit | None:
    """Return a unit with its power; None for the square of anything else than a length."""
    kind = match["kind"]
    power = POWERS[kind[:2]] if kind else POWERS.get(match["power"], 1)
    if power == 1:
        return Unit(dimension, size, (name,))
    if dimension != "length" or (kind and match["power"]):
        return None
    return Unit(f"length^{power}", size**power, (f"{name}^{power}", name))


def _sum(parts: Sequence[Measure]) -> Measure | None:
    """Return the sum of parts whose units get smaller, as in `5 ft 3 in`; else None."""
    first = parts[0]
    sizes = [part.units[0].size for part in parts]
    if sizes != sorted(set(sizes), reverse=True):
        return None
    if any(part.dimension != first.dimension for part in parts):
        return None
    if len(parts) > 1 and (first.value < 0 or any(part.last_digit for part in parts[:-1])):
        return None
    value = sum([part.value for part in parts], Fraction(0))
    units = tuple([part.units[0] for part in parts])
    return Measure(value, parts[-1].last_digit, units, parts[-1].is_double)
