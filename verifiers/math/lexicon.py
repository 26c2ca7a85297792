"""The words that decide how mathematical text is read.

A missing word makes a statement unknown or an equation true; by itself, it never makes a true
statement false.
"""

import re


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


# Functions in answers.
FUNCTIONS = words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp")

GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi"
    " rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
)

# Words of three letters that are products of names.
PRODUCTS = words("abc xyz pqr")

# Words of two letters that are not products of names, although all their letters may be names.
NOT_PRODUCTS = words("am an as at by my us up cm mm km ms pm mt")

# The names of the numbers from 0.
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)  # fmt: skip

# Words that are part of the mathematics: an expression next to one is not understood.
MATHEMATICAL = words(
    "of than twice thrice double doubled triple tripled quadruple half halves third thirds"
    " fourth fourths quarter fifth sixth seventh eighth ninth tenth times plus minus divided"
    " multiplied squared cubed square cube root sqrt sum difference product quotient between by"
    " mod modulo log ln exp sin cos tan cot sec csc arcsin arccos arctan gcd lcm hcf max min"
    " floor ceil choose factorial thirty forty fifty sixty seventy eighty ninety hundred hundreds"
    " thousand thousands million millions billion trillion dozen dozens couple pair pairs score"
    " gross decade decades century centuries fortnight abs det perimeter area remainder over not"
    " never if whether unless suppose assume assuming instead cannot"
) | set(NUMBER_WORDS)

# Words after a number in a sum that multiply it.
MULTIPLYING = words("tens ones tenths hundredths thousandths scores lakh lakhs crore crores")

# Words after a number that are no units.
PROSE = words(
    "a an the and or so in on at to for from with as per each every is are was were be has have"
    " had this that these those which who when while because since then thus hence therefore"
    " total altogether left more less remaining extra only he she it they we you i his her its"
    " their our but all now where if into out up down after before during overall approximately"
    " about around exactly also still other will would can could should must gives giving makes"
    " making total combined worth spent saved earned of"
)

# Words before an expression that is supposed or denied.
REFUTING = words(
    "if whether not never suppose assume assuming unless instead cannot isn't doesn't don't"
    " can't won't"
)

# Text in which another arithmetic than that of plain numbers may be meant.
OTHER_ARITHMETIC = re.compile(
    r"\b(?:p?mod|modul[oa]r?|modulus|congruent|(?:in )?base[- ]\\?[($]*\d+|in base|bases"
    r"|binary|ternary"
    r"|octal|hexadecimal|operation [$\\\\(*#@]"
    r"|o'clock|\d ?[ap]\.?m)\b|\bdefin\w*[^.\n]{0,60}\w ?(?:[*@#&×]|\\cdot) ?\w"
    r"|\\(?:star|ast|oplus|ominus|otimes|odot|diamond|bigstar|[a-z]+suit)(?![a-z])",
    re.IGNORECASE,
)

# Text in which an equation may be quoted in order to refute it.
REFUTATION = re.compile(
    r"\b(?:incorrect\w*|wrong\w*|mistake\w*|error|errors|contradict\w*|impossible|should be"
    r"|should have been|not equal|false|cannot be"
    r"|not true|extraneous|no (?:real |integer )?solutions?|inconsistent|absurd|not possible"
    r"|not valid|invalid|nonsense|spurious|untrue"
    r"|(?:does(?: not|n't)|do(?: not|n't)|not) (?:satisfy|hold|work|equal|match))\b",
    re.IGNORECASE,
)

# Words after an equals sign that make the number approximate.
ABOUT = words("about approximately around roughly nearly almost")

# A step with one of these words may round whole numbers.
ROUNDING = ABOUT | words(
    "round rounded rounding rounds nearest estimate estimates estimated estimating estimation"
    " approximate approximation decimal significant truncated truncating"
)

# Words between two equations of which the second is the first in another form.
RESTATING = words(
    "simplifying simplifies simplify simplified expanding expand combining combine distributing"
    " distribute rearranging rearrange rearranged rewriting rewritten rewrite factoring factor"
    " factored factors collecting equivalent equivalently"
    " ⇒ ⟹ \\rightarrow \\implies \\longrightarrow"
)

# Words that have this meaning together with "both sides".
OPERATING = words("subtracting subtract adding add multiplying multiply dividing divide")

# Words between two equations of which the second follows from the first.
CONCLUDING = words(
    "so thus therefore hence then gives giving get yields have obtain solving solve which →"
)

CONNECTING = words(
    "this that to we us like terms both sides each side by from of the an and equation obtains it"
    " is can be as further now for find left hand right out leads simplification expression"
    " finally - , . : ; • \\quad \\qquad"
) | {"\n"}

# Words that add no other fact.
PASSAGE = RESTATING | OPERATING | CONCLUDING | CONNECTING

# Words after an equals sign that are skipped.
LEADING = ABOUT | words("a total only exactly")

# Words that end a unit before them.
CONNECTIVES = words("and or but so then because since while when where which who if")

# LaTeX environments of matrices.
MATRICES = words("pmatrix bmatrix matrix Bmatrix")

# Words after a number that change its value.
COUNTING = words(
    "am pm base binary octal hexadecimal below under ago bc ad loss debt least most and or"
    " tenth tenths hundredth hundredths thousandth thousandths millionth millionths"
    " lakh lakhs crore crores grand bn mn more less fewer"
    " mil mille tausend hundert mio mrd millones milhões millionen milliarde milliarden miljoen"
    " milioni douzaine douzaines docena docenas dutzend dozzina tercio tercios tiers cuarto cuartos"
    " quarts drittel viertel prozent pourcent percento ciento"
)

# Names of arbitrary constants or integers: a family of answers can be written in many ways.
PARAMETERS = words(r"c C k K n m N M j l t \lambda \alpha \theta")

# Sets of words of which only one can be the right answer.
VOCABULARIES = (
    words("yes no"),
    words("all none"),
    words("true false unprovable"),
    words("odd even neither"),
    words("always sometimes never"),
    words("monday tuesday wednesday thursday friday saturday sunday"),
    words("january february march april may june july august september october november december"),
)

# Short words that are no variables.
SHORT_UNITS = words(
    "kg cm mm km ml oz lb lbs ft yd mi hr hrs min mins sec secs gb mb kb mph kmh in a an is it"
    " he we i so or at on to as"
)

UNITS_BY_FAMILY = {
    "time": "second sec minute min hour hr day week month year",
    "length": "millimeter mm centimeter cm meter metre kilometer km inch foot feet ft yard mile mi",
    "mass": "gram kilogram kg ounce oz pound lb ton tonne",
    "volume": "milliliter ml liter litre cup pint quart gallon tablespoon teaspoon ounce",
    "money": "cent penny pence nickel dime quarter dollar buck euro",
    "data": "kb mb gb kilobyte megabyte gigabyte",
    "angle": "degree radian",
}
# The factors between the units of a family.
FACTORS_BY_FAMILY = {
    "time": (7, 12, 24, 30, 31, 52, 60, 168, 360, 365, 366, 1440, 3600, 10_080, 86_400),
    "length": (10, 12, 36, 100, 1000, 1760, 5280, 63_360, 10**6),
    "mass": (16, 1000, 2000, 10**6),
    "volume": (4, 8, 16, 32, 128, 1000),
    "money": (4, 10, 20, 100),
    "data": (1000, 1024),
    "angle": (60, 3600),
}
# The families of units that convert into one another.
FAMILIES: dict[str, str] = {}
for _family, _units in UNITS_BY_FAMILY.items():
    FAMILIES.update(dict.fromkeys(_units.split(), _family))

IRREGULAR = {
    "feet": "foot", "inches": "inch", "pennies": "penny", "people": "person",
    "children": "child", "boxes": "box",
}  # fmt: skip
PLURAL = re.compile(r"(?<=[a-rt-z]{2})s$")


def singular(word: str) -> str:
    """Return a word in lower case without the s of its plural."""
    word = word.lower()
    return IRREGULAR.get(word) or PLURAL.sub("", word)
