"""The words that decide whether an equation in running text may be read as plain arithmetic.

What a list lacks errs towards unknown or towards a true equation: a missing word never makes a true statement false by itself.
"""

import re

__all__ = [
    "ABOUT",
    "CONCLUDING",
    "CONNECTIVES",
    "FAMILIES",
    "LEADING",
    "MATHEMATICAL",
    "OPERATING",
    "OTHER_ARITHMETIC",
    "PASSAGE",
    "PROSE",
    "REFUTATION",
    "REFUTING",
    "RESTATING",
    "ROUNDING",
    "SHORT_UNITS",
    "singular",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MATHEMATICAL = _words(
    "of than twice thrice double doubled triple tripled quadruple half halves third thirds fourth fourths quarter fifth sixth seventh"
    " eighth ninth tenth times plus minus divided multiplied squared cubed square cube root sqrt sum difference product quotient"
    " between by mod modulo log ln exp sin cos tan cot sec csc arcsin arccos arctan gcd lcm hcf max min floor ceil choose factorial"
    " zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    " twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million millions billion trillion"
    " dozen dozens couple pair pairs score gross decade decades century centuries fortnight abs det perimeter area"
    " remainder over not never if whether unless suppose assume assuming instead cannot"
)
"""Words that are part of the mathematics: next to an expression they change what it says, so it is not understood."""

PROSE = _words(
    "a an the and or so in on at to for from with as per each every is are was were be has have had this that these those which who when"
    " while because since then thus hence therefore total altogether left more less remaining extra only he she it they we you i his her"
    " its their our but all now where if into out up down after before during overall approximately about around exactly also still other"
    " will would can could should must gives giving makes making total combined worth spent saved earned of"
)
"""Words after a number that name no unit."""

REFUTING = _words("if whether not never suppose assume assuming unless instead cannot isn't doesn't don't can't won't")
"""Before an expression: what follows is supposed or denied."""

OTHER_ARITHMETIC = re.compile(
    r"\b(?:p?mod|modul[oa]r?|modulus|congruent|(?:in )?base[- ]\\?[($]*\d+|bases|binary|ternary|octal|hexadecimal|operation [$\\\\(*#@]"
    r"|o'clock|\d ?[ap]\.?m)\b|\bdefin\w*[^.\n]{0,60}\w ?(?:[*@#&×]|\\cdot) ?\w"
    r"|\\(?:star|ast|oplus|ominus|otimes|odot|diamond|bigstar|[a-z]+suit)(?![a-z])",
    re.IGNORECASE,
)
"""Where another arithmetic than that of plain numbers may be meant."""

REFUTATION = re.compile(
    r"\b(?:incorrect\w*|wrong\w*|mistake\w*|error|errors|contradict\w*|impossible|should be|should have been|not equal|false|cannot be"
    r"|not true|extraneous|no (?:real |integer )?solutions?|inconsistent|absurd|not possible|not valid|invalid"
    r"|(?:does(?: not|n't)|do(?: not|n't)|not) (?:satisfy|hold|work|equal|match))\b",
    re.IGNORECASE,
)
"""Where a step may quote an equation in order to refute it."""

ABOUT = _words("about approximately around roughly nearly almost")
"""After an equals sign: the number is approximate."""

ROUNDING = ABOUT | _words("round rounded rounding nearest estimate estimated approximate approximation decimal")
"""A step with one of these may round whole numbers."""

RESTATING = _words(
    "simplifying simplifies simplify simplified expanding expand combining combine distributing distribute rearranging rearrange rearranged"
    " rewriting rewritten rewrite factoring factor factored factors collecting equivalent equivalently ⇒ → ⟹ \\rightarrow \\implies"
    " \\longrightarrow"
)
"""Between two equations: the second is the first, written otherwise."""

OPERATING = _words("subtracting subtract adding add multiplying multiply dividing divide")
"""The same, together with "both sides"."""

CONCLUDING = _words("so thus therefore hence then gives giving get yields have obtain solving solve which")
"""Between two equations: the second follows from the first."""

PASSAGE = (
    RESTATING
    | OPERATING
    | CONCLUDING
    | _words(
        "this that to we us like terms both sides each side by from of the an and equation obtains it is can be as further now for find"
        " left hand right out leads simplification expression finally - , . : ; • \\quad \\qquad"
    )
    | {"\n"}
)
"""Words that bring in no other fact."""

LEADING = ABOUT | _words("a total only exactly")
"""After an equals sign: passed over."""

CONNECTIVES = _words("and or but so then because since while when where which who if")
"""Prose that begins something new: a unit ends before it."""

SHORT_UNITS = _words("kg cm mm km ml oz lb lbs ft yd mi hr hrs min mins sec secs gb mb kb mph kmh in a an is it he we i so or at on to as")
"""Words of one or two letters, and the like, that are not variables."""

FAMILIES = {
    unit: family
    for family, units in {
        "time": "second sec minute min hour hr day week month year",
        "length": "millimeter mm centimeter cm meter metre kilometer km inch foot feet ft yard mile mi",
        "mass": "gram kilogram kg ounce oz pound lb ton tonne",
        "volume": "milliliter ml liter litre cup pint quart gallon tablespoon teaspoon ounce",
        "money": "cent penny pence nickel dime quarter dollar buck euro",
        "data": "kb mb gb kilobyte megabyte gigabyte",
        "angle": "degree radian",
    }.items()
    for unit in units.split()
}
"""Units that convert into one another: an equation with two of a family may be about the conversion."""

IRREGULAR = {"feet": "foot", "inches": "inch", "pennies": "penny", "people": "person", "children": "child", "boxes": "box"}
PLURAL = re.compile(r"(?<=[a-rt-z]{2})s$")


def singular(word: str) -> str:
    """A word without its plural's s, in lower case."""
    word = word.lower()
    return IRREGULAR.get(word) or PLURAL.sub("", word)
