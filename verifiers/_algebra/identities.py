"""Whether two formulas are equal wherever both are defined, sometimes, or never.

Never is shown at sample points, a few of every sort (whole, between 0 and 1, negative, large), and for ratios of polynomials by the
numerator of the difference. Always is a proof for ratios of polynomials; for other formulas it is agreement to twenty digits at every
sample point. A formula with `i` is looked at with `i` a variable, and with i² = −1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction

from verifiers._algebra.formulas import Call, Joined, Number, Tree, names, parts
from verifiers._algebra.ratios import Polynomial, numerators, ratios
from verifiers._algebra.values import BASE, UndefinedError, evaluate, order

__all__ = ["Equality", "Relation", "compare"]

MAX_NAMES = 6
POINTS = 8
MIN_POINTS = 3
"""At how many points both sides must be defined before anything is said."""
SAMPLES: Sequence[Fraction] = [Fraction(text) for text in ["7", "11/3", "5/7", "23", "13", "2/9", "17/5", "29", "19", "3/11", "31/4", "37"]]
SMALL: Sequence[Fraction] = [Fraction(text) for text in ["7", "9", "11", "12", "10", "8", "13", "14"]]
IMAGINARY = "i"


class Equality(Enum):
    """How often two formulas are equal."""

    ALWAYS = auto()
    SOMETIMES = auto()
    NEVER_SEEN = auto()
    """At no sample point; there may be solutions."""
    NEVER = auto()
    """There is no solution."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Relation:
    """`left` and `right` are numerators over a common denominator, where the formulas are ratios of polynomials; `where` they differ."""

    equality: Equality
    left: Polynomial = None
    right: Polynomial = None
    where: str = ""


def compare(left: Tree, right: Tree) -> Relation:
    """How the two formulas relate."""
    variables = sorted(names(left) | names(right))
    if len(variables) > MAX_NAMES or any("(" in name for name in variables):
        return Relation(Equality.UNKNOWN)
    polynomials = _polynomials(left, right)
    if polynomials and not polynomials[2]:
        return Relation(Equality.ALWAYS)
    seen, where = _sampled(left, right, variables)
    if seen is Equality.NEVER_SEEN and polynomials:
        if IMAGINARY in variables and not _pure(left, right):
            return Relation(Equality.UNKNOWN)
        if IMAGINARY in variables and _vanishes_at_i(left, right):
            return Relation(Equality.ALWAYS)
        if _has_no_zero(polynomials[2], polynomials[3]):
            seen = Equality.NEVER
    above, other = polynomials[:2] if polynomials else (None, None)
    return Relation(seen, above, other, where)


def _polynomials(left: Tree, right: Tree) -> tuple[Polynomial, Polynomial, Polynomial, Polynomial] | None:
    """Both sides over a common denominator, their difference, and that denominator."""
    made = ratios(left, right)
    if made is None or not all(ratio.below for ratio in made):
        return None
    above, other = numerators(*made)
    return above, other, above - other, made[0].below * made[1].below


def _has_no_zero(difference: Polynomial, denominator: Polynomial) -> bool:
    """Whether the difference vanishes nowhere but where the denominator does."""
    while not difference.is_ground:
        common = difference.gcd(denominator)
        if common.is_ground:
            return False
        difference = difference.exquo(common)
    return True


def _pure(left: Tree, right: Tree) -> bool:
    """Whether there is nothing but the four operations and whole powers, so that i may be any number."""
    return not any(isinstance(part, Call) for tree in (left, right) for part in parts(tree))


def _vanishes_at_i(left: Tree, right: Tree) -> bool:
    """Whether the sides are equal when i² = −1."""
    square = Joined("+", Joined("^", _name_of(left, right), Number(Fraction(2))), Number(Fraction(1)))
    made = ratios(left, right, square)
    if made is None:
        return True
    above, other = numerators(made[0], made[1])
    return not (above - other).rem(made[2].above)


def _name_of(left: Tree, right: Tree) -> Tree:
    return next(part for tree in (left, right) for part in parts(tree) if getattr(part, "text", "") == IMAGINARY)


def _sampled(left: Tree, right: Tree, variables: Sequence[str]) -> tuple[Equality, str]:
    """What the sample points say, and at which point the sides differ."""
    told, where = list[bool](), ""
    for number in range(POINTS if variables else 1):
        environment = _environment(variables, number)
        try:
            values = [evaluate(side, environment | {BASE: Fraction(10)}) for side in (left, right)]
        except UndefinedError:
            continue
        ordered = order(*values)
        if ordered is None:
            return Equality.UNKNOWN, ""
        told.append(ordered != 0)
        if ordered and not where:
            where = ", ".join(f"{name} = {value}" for name, value in environment.items())
    if len(told) < (MIN_POINTS if variables else 1):
        return Equality.UNKNOWN, ""
    if all(told):
        return Equality.NEVER_SEEN if variables else Equality.NEVER, where
    return Equality.SOMETIMES if any(told) else Equality.ALWAYS, where


def _environment(variables: Sequence[str], number: int) -> dict[str, Fraction]:
    """The n-th sample point; the first half are whole numbers in falling order of the variables, for factorials and binomials."""
    if number < POINTS // 2:
        return {
            name: SMALL[(number + len(variables) - index) % len(SMALL)] + 3 * (len(variables) - index)
            for index, name in enumerate(variables)
        }
    sign = -1 if number == POINTS - 1 else 1
    return {name: sign * SAMPLES[(5 * number + 7 * index) % len(SAMPLES)] for index, name in enumerate(variables)}
