"""Judge equations whose terms have different units of one dimension: `2 hours = 120 minutes`.

Both sides are sums of numbers with units, such as `4 feet - 40 inches = 8 inches`. The ratios in
the table are exact. Everything else is left to the rule for plain equations, in which units are
skipped: a product such as `2 hours * 60 = 120 minutes` mentions the conversion itself.

What is not covered: units that differ between countries or systems, powers of units, and ratios
that are not exact, such as that of miles and kilometers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from verifiers.arithmetic_rules.equations import Equation
from verifiers.base import StepClaim
from verifiers.math.lexicon import singular
from verifiers.math.syntax import Combined, Negated, Number, Tree, numbers, terms

CONVERSION = "unit conversion"
# The assumptions.
WHOLE_PERIODS = "a day has 24 hours, a week 7 days and a year 12 months"
NO_RATE = "a statement about one unit is no rate or scale"
NO_SCALE = "no scale of a map or a model is meant"
TABLE: Sequence[Mapping[str, int]] = (
    {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800},
    {"month": 1, "year": 12, "decade": 120, "century": 1200},
    {"millimeter": 1, "centimeter": 10, "decimeter": 100, "meter": 1000, "kilometer": 1_000_000},
    {"inch": 1, "foot": 12, "yard": 36, "mile": 63_360},
    {"milligram": 1, "gram": 1000, "kilogram": 1_000_000},
    {"ounce": 1, "pound": 16},
    {"milliliter": 1, "liter": 1000},
    {"cup": 1, "pint": 2, "quart": 4, "gallon": 16},
    {"teaspoon": 1, "tablespoon": 3},
    {"cent": 1, "penny": 1, "nickel": 5, "dime": 10, "quarter": 25, "dollar": 100},
)
# Units of periods of which a part may be meant: working hours, days of a school week.
PERIODS = frozenset(["day", "week", "month", "year", "decade", "century"])
SPELLINGS = {
    "sec": "second", "min": "minute", "hr": "hour", "yr": "year", "centurie": "century",
    "mm": "millimeter", "cm": "centimeter", "dm": "decimeter", "km": "kilometer",
    "millimetre": "millimeter", "centimetre": "centimeter", "metre": "meter",
    "kilometre": "kilometer", "in": "inch", "inche": "inch", "ft": "foot", "feet": "foot",
    "yd": "yard", "mi": "mile", "mg": "milligram", "kg": "kilogram", "kilo": "kilogram",
    "oz": "ounce", "lb": "pound", "lbs": "pound", "ml": "milliliter", "mL": "milliliter",
    "millilitre": "milliliter", "litre": "liter", "tbsp": "tablespoon", "tsp": "teaspoon",
    "pennie": "penny",
}  # fmt: skip
# Letters are units only next to a longer unit of the same dimension.
LETTERS = {"m": "meter", "g": "gram", "l": "liter", "L": "liter", "s": "second", "h": "hour"}
# Words behind a unit that change what is measured, and powers of units.
CHANGING = re.compile(
    r"\b(?:each|per|more|less|fewer|every|an?|extra|left|remaining|of|other)\b|[\^/]"
)
SCALE = re.compile(
    r"\b(?:maps?|scales?|scaled|models?|drawings?|blueprints?|represent\w*|globe|stands? for)\b",
    re.IGNORECASE,
)
# A letter that touches the number is a variable: `2m`.
QUANTITY = (
    r"(\d{1,9}(?:\.\d{1,6})?)"
    r"(?: ?(?:\\,|\\ |~)? ?\\(?:text|mathrm|mbox)\{ ?| |~|(?=[A-Za-z]{2}))([A-Za-z]{1,10})\}?"
)
# Words directly before a quantity that do not belong to it.
CONCLUDING = re.compile(
    r"(?:^|\W)(?:so|thus|therefore|hence|then|since|because|that|and),? $", re.IGNORECASE
)
WORD_CHARS = 12
QUANTITY_EQUATION = re.compile(
    rf"(?:(?<=^)|(?<=[(\n$])|(?<=[\w).:,;] )(?<![-+*/=×·] ))(?<!\w\.)(?<!\d ){QUANTITY}"
    rf" ?= ?{QUANTITY}(?!\w|\{{|[.,]\d| ?[-+*/^=×·²³]| ?\\(?:times|cdot)| \d)",
    re.MULTILINE,
)


def converted_sides(equation: Equation) -> tuple[Tree, Tree] | None:
    """Return the sides in one unit, or None if they do not have several units of one dimension.

    The unit is that of a side which is one number, because its digits may be rounded.
    """
    if equation.sides is None or equation.is_approximate or CHANGING.search(equation.text):
        return None
    left, right = equation.sides
    sizes = _sizes((*terms(left), *terms(right)))
    if len(set(sizes.values())) < 2:
        return None
    target = min(sizes.values())
    for side in (left, right):
        if isinstance(side, Number):
            target = sizes[_unit(side)]
    return _converted(left, sizes, target), _converted(right, sizes, target)


def quantity_equations(text: str) -> Iterator[Equation]:
    """Yield the equations between two quantities that `equations` does not read.

    In `3 m = 300 cm`, a letter is a unit. In `So 90 seconds = 1.5 minutes`, words precede the first
    quantity, which may then be the name of something else.
    """
    for match in QUANTITY_EQUATION.finditer(text):
        first, first_unit, second, second_unit = match.groups()
        has_one_letter = (first_unit in LETTERS) is not (second_unit in LETTERS)
        is_stated = len(first_unit) > 1 and CONCLUDING.search(text[: match.start()][-WORD_CHARS:])
        if has_one_letter or is_stated:
            left = _quantity(first, first_unit)
            right = _quantity(second, second_unit)
            yield Equation(match[0], (left, right), is_approximate=False, continues=False)


def assumptions(equation: Equation, claim: StepClaim) -> Iterator[str]:
    """Yield the reasons why a false conversion may be right."""
    assert equation.sides is not None
    left, right = equation.sides
    quantities = (*numbers(left), *numbers(right))
    if any(_unit(number) in PERIODS for number in quantities):
        yield WHOLE_PERIODS
    if any(side == Number(Fraction(1), unit=_words(side)) for side in (left, right)):
        yield NO_RATE
    if any(SCALE.search(text) for text in (claim.question, *claim.previous, claim.step)):
        yield NO_SCALE


def _sizes(all_terms: Sequence[Tree]) -> Mapping[str, int]:
    """Return the units of all terms with their sizes; nothing if they have no common dimension."""
    units = set[str]()
    for term in all_terms:
        unit = ""
        if isinstance(term, Number) and not term.percent:
            unit = _unit(term)
        units.add(unit)
    for dimension in TABLE:
        if units <= dimension.keys():
            return {unit: dimension[unit] for unit in units}
    return {}


def _unit(number: Number) -> str:
    """Return the unit of a number by its full name; empty if it has none or several words."""
    if len(number.unit) != 1:
        return ""
    return SPELLINGS.get(number.unit[0], number.unit[0])


def _words(tree: Tree) -> tuple[str, ...]:
    return tree.unit if isinstance(tree, Number) else ()


def _converted(tree: Tree, sizes: Mapping[str, int], target: int) -> Tree:
    match tree:
        case Number():
            size = sizes[_unit(tree)]
            if size == target:
                return tree
            return Combined("*", tree, Number(Fraction(size, target)))
        case Negated(operand):
            return Negated(_converted(operand, sizes, target))
        case Combined(operator, left, right):
            return Combined(
                operator, _converted(left, sizes, target), _converted(right, sizes, target)
            )
    return tree


def _quantity(digits: str, unit: str) -> Number:
    decimals = len(digits.partition(".")[2])
    name = LETTERS.get(unit) or singular(unit)
    return Number(Fraction(digits), decimals, unit=(name,))
