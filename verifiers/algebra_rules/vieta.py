r"""Judge the sum and the product of the roots of a polynomial that the text states.

Example: `x^2 - 5x + 3 = 0`, and then "the sum of the roots is 6". By Vieta's formulas, the roots of
`a x^n + b x^(n-1) + … + z` have the sum `-b/a` and the product `(-1)^n z/a`, with multiplicity and
with complex roots.

The polynomial is named ("the sum of the roots of $x^2 - 5x + 3$ is 6"), or it is the only
polynomial equation in one name in the step, or else in the step before, or else in the question.

What is not covered: "solutions" and restricted roots ("real", "positive", "distinct"), sums of
reciprocals and powers, decimals.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.algebra_rules.ratios import Polynomial
from verifiers.algebra_rules.stated_equations import (
    Stated,
    StatedEquation,
    equation_of,
    polynomials,
)
from verifiers.algebra_rules.statements import chains
from verifiers.algebra_rules.values import rational_value
from verifiers.math.dialects.algebra import parse, tokens
from verifiers.math.findings import HOLDS, StepJudgement, false

VIETA = "sum or product of roots"
# A formula in dollars or brackets; its length is bounded for the time of the search.
FORMULA = r"(?:\$([^$\n]{1,120})\$|\\\(([^$\n]{1,120}?)\\\))"
CLAIM = re.compile(
    r"\b(sum|product) of (?:the|its|their|all|these|all the)? ?(?:two |three |four )?"
    r"(?:roots|zeros)"
    r"(?: of (?:the |this |that )?(?:given )?(?:equation|polynomial|quadratic(?: equation)?)?"
    rf" ?(?:{FORMULA})?)?,? (?:is|equals|is equal to|must be|is given by)"
    rf" (?:{FORMULA}|(-?\d{{1,9}}(?:/\d{{1,9}})?))"
    # Other words may continue the number: "3 more than".
    r"(?=[.,;:]?(?:$|\s*\n)|[.,;:] | (?:and|so|while)\b)"
)
BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]{0,40}\}){1,80})\}")
# Words for roots of which only some count.
RESTRICTED = re.compile(
    r"\b(?:real|positive|negative|distinct|integer|rational|other|remaining|nonreal|reciprocals?"
    r"|squares?|double|repeated|new)\b",
    re.IGNORECASE,
)
MIN_DEGREE = 2
Sums = dict[str, Fraction]


def root_sums(stated: Stated) -> Iterator[tuple[str, StepJudgement]]:
    """Yield what the step says about the sum and the product of roots, with the judgement."""
    context = stated.context
    step = context.claim.step
    matches = list(CLAIM.finditer(step))
    if not matches or RESTRICTED.search(step):
        return
    nearby = _sums_nearby(stated)
    for match in matches:
        named = match[2] or match[3]
        claimed = _last_value(match[4] or match[5] or match[6])
        stated_sums = _sums_of_formula(named) if named else nearby
        if claimed is None or stated_sums is None:
            continue
        sums, polynomial, assumption = stated_sums
        statement = " ".join(match[0].split())
        value = sums[match[1]]
        if claimed == value:
            yield statement, HOLDS
            continue
        reason = f"it is {value} for {polynomial}"
        yield statement, false(VIETA, reason, assumption, context.cases)


def _last_value(formula: str) -> Fraction | None:
    """Return the value of the last side of a chain of equations, if it is a closed formula."""
    side = BOX.sub(r"\1", formula).rpartition("=")[2]
    tree = parse([token for token in tokens(f"${side.strip()}$") if token.text != "$"])
    return None if tree is None else rational_value(tree)


def _sums_of_formula(formula: str) -> tuple[Sums, str, str] | None:
    """Return the sums of the roots of a named polynomial or equation, and its text."""
    text = formula if "=" in formula else f"{formula} = 0"
    for chain in chains(f"${text}$"):
        equation = equation_of(chain)
        sums = None if equation is None else _sums(equation)
        if sums is not None:
            return sums, chain.text, ""
    return None


def _sums_nearby(stated: Stated) -> tuple[Sums, str, str] | None:
    """Return the sums of the roots of the only polynomial equation nearby, and where it is."""
    # "For x² = 2x" names a polynomial, although it supposes an equation.
    here = [equation_of(chain) for chain in stated.context.chains]
    by_place = dict[str, list[tuple[Sums, str, str]]]()
    for equation in (*stated.before, *here):
        sums = None if equation is None else _sums(equation)
        if equation is not None and sums is not None:
            entry = (sums, equation.chain.text, equation.assumption)
            by_place.setdefault(equation.assumption, []).append(entry)
    if not by_place:
        return None
    # The step itself comes last, and the question first.
    nearest = list(by_place.values())[-1]
    first = nearest[0]
    return first if all(entry[0] == first[0] for entry in nearest) else None


def _sums(equation: StatedEquation) -> Sums | None:
    """Return the sum and the product of all roots of a polynomial in one name."""
    if len(equation.names) != 1:
        return None
    made = polynomials(equation.left, equation.right)
    if made is None or made[0].is_ground:
        return None
    coefficients = _coefficients(made[0])
    degree = len(coefficients) - 1
    if degree < MIN_DEGREE:
        return None
    return {
        "sum": -coefficients[1] / coefficients[0],
        "product": (-1) ** degree * coefficients[-1] / coefficients[0],
    }


def _coefficients(polynomial: Polynomial) -> Sequence[Fraction]:
    """Return the coefficients of a polynomial in one variable, from the highest power down."""
    by_power = dict[int, Fraction]()
    for (power,), coefficient in polynomial.terms():
        by_power[power] = Fraction(int(coefficient.numerator), int(coefficient.denominator))
    return [by_power.get(power, Fraction(0)) for power in range(max(by_power), -1, -1)]
