"""Sums of monomials in atoms with rational exponents, and the table of the atoms.

A sum is a mapping from monomials to coefficients that are not zero. A monomial has pairs of an atom
and an exponent that is not zero, in the order of the atoms. What an atom is, its key says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from verifiers.math.exact import bit_size
from verifiers.math.syntax import UnreadError

Monomial = tuple[tuple[int, Fraction], ...]
Sum = dict[Monomial, Fraction]
# A sum as the part of a key.
Frozen = frozenset[tuple[Monomial, Fraction]]

MAX_BITS = 4_096
MAX_EXPONENT_BITS = 64
ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Key:
    """What an atom is: its kind, a name, and the sums that it is made from."""

    kind: str
    name: str = ""
    arguments: tuple[Frozen, ...] = ()


@dataclass(slots=True)
class AtomTable:
    """The atoms in the order in which they were met."""

    keys: list[Key] = field(default_factory=list)
    indices: dict[Key, int] = field(default_factory=dict)
    dependencies: list[frozenset[str]] = field(default_factory=list)
    """The names on which every atom depends."""

    def index(self, key: Key) -> int:
        """Return the index of an atom, which is added if it is new."""
        known = self.indices.get(key)
        if known is not None:
            return known
        names = {key.name} if key.kind == "name" else set[str]()
        for argument in key.arguments:
            for monomial, _ in argument:
                names |= self.names(monomial)
        self.keys.append(key)
        self.dependencies.append(frozenset(names))
        self.indices[key] = len(self.keys) - 1
        return len(self.keys) - 1

    def names(self, monomial: Monomial) -> set[str]:
        """Return the names on which a monomial depends."""
        names = set[str]()
        for index, _ in monomial:
            names |= self.dependencies[index]
        return names


def constant(value: Fraction) -> Sum:
    """Return a number as a sum."""
    return {(): value} if value else {}


def added(left: Mapping[Monomial, Fraction], right: Mapping[Monomial, Fraction]) -> Sum:
    """Return the sum of two sums."""
    total = dict(left)
    for monomial, coefficient in right.items():
        value = total.get(monomial, Fraction(0)) + coefficient
        if value:
            total[monomial] = checked(value)
        else:
            total.pop(monomial, None)
    return total


def scaled(terms: Mapping[Monomial, Fraction], factor: Fraction) -> Sum:
    """Return a sum with every coefficient multiplied by a number that is not zero."""
    return {monomial: checked(value * factor) for monomial, value in terms.items()}


def checked(value: Fraction) -> Fraction:
    """Return a coefficient. Raises UnreadError if it is too large."""
    if bit_size(value) > MAX_BITS:
        raise UnreadError("a number that is too large")
    return value


def monomial_of(exponents: Mapping[int, Fraction]) -> Monomial:
    """Return the monomial of exponents by atom. Raises UnreadError if one is too large."""
    for exponent in exponents.values():
        if bit_size(exponent) > MAX_EXPONENT_BITS:
            raise UnreadError("an exponent that is too large")
    return tuple(sorted([(index, power) for index, power in exponents.items() if power]))


def multiplied(left: Monomial, right: Monomial) -> Monomial:
    """Return the product of two monomials."""
    exponents = dict(left)
    for index, exponent in right:
        exponents[index] = exponents.get(index, Fraction(0)) + exponent
    return monomial_of(exponents)


def raised(monomial: Monomial, exponent: Fraction) -> Monomial:
    """Return a power of a monomial."""
    return monomial_of({index: power * exponent for index, power in monomial})


def common_monomial(terms: Iterable[Monomial]) -> Monomial:
    """Return the product of all atoms with their least exponents in the terms."""
    exponents = [dict(monomial) for monomial in terms]
    atoms = set[int]().union(*exponents)
    least = {}
    for atom in atoms:
        least[atom] = min(term.get(atom, Fraction(0)) for term in exponents)
    return monomial_of(least)


def leading_sign(terms: Mapping[Monomial, Fraction]) -> int:
    """Return the sign of the coefficient of the last monomial."""
    return 1 if terms[max(terms)] > 0 else -1
