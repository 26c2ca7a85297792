"""Normal forms of expressions: a proof that two of them are equal.

An expression becomes a sum of monomials with rational coefficients and exponents. The atoms are
names, primes, pi, -1 (whose power 1/2 is i), exponentials of monomials, sums under a power,
logarithms, absolute values and other functions. Sines and the like become exponentials, so that
their addition theorems hold term by term. Two expressions are equal if their difference, multiplied
by its denominators, has no terms: all rules are identities of analytic functions.

Without `i`, all names are real. Then logarithms of products and powers of positive factors are
split; this is an identity where both sides have real values, which the caller has to compare.

What is not covered: relations between the remaining atoms, such as `asin(x) + acos(x)`.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

from verifiers.math.syntax import (
    Call,
    Combined,
    Constant,
    I,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    walk,
)
from verifiers.program_answers.commands import SUM
from verifiers.program_answers.derivatives import UNKNOWN
from verifiers.program_answers.finite_sums import power_sum
from verifiers.program_answers.monomials import (
    AtomTable,
    Key,
    Monomial,
    Sum,
    added,
    checked,
    common_monomial,
    constant,
    leading_sign,
    monomial_of,
    multiplied,
    raised,
    scaled,
)

MAX_PRODUCTS = 20_000
MAX_EXPANDED_POWER = 40
MAX_SHIFT = 20
MAX_NUMBER = 10**8
MAX_ROUNDS = 6
HALF = Fraction(1, 2)
ONE = constant(Fraction(1))
# Kinds of atoms whose key is enough for a proof without values.
PLAIN_KINDS = frozenset(["name", "base", "application"])
TRIGONOMETRIC = {"sin": 1, "cos": 1, "tan": 1, "cot": -1, "sec": -1, "csc": -1}
HYPERBOLIC = frozenset(["sinh", "cosh", "tanh", "coth"])


class NormalForms:
    """Computes normal forms over one table of atoms, within a number of steps."""

    def __init__(self, *trees: Tree) -> None:
        self.atoms = AtomTable()
        self.products = 0
        # Whether a real number was replaced by its size.
        self.uses_sizes = False
        self.is_complex = any(I in list(walk(tree)) for tree in trees)

    @property
    def is_plain(self) -> bool:
        """Whether no function is known but powers, so that equality needs no common domain."""
        return not self.uses_sizes and all(key.kind in PLAIN_KINDS for key in self.atoms.keys)

    def are_equal(self, left: Tree, right: Tree) -> bool:
        """Return whether two expressions have the same normal form. Raises UnreadError."""
        return self.is_zero(self.difference(left, right))

    def difference(self, left: Tree, right: Tree) -> Sum:
        """Return `left - right`."""
        return added(self.form(left), scaled(self.form(right), Fraction(-1)))

    def form(self, tree: Tree) -> Sum:
        """Return the normal form of an expression. Raises UnreadError."""
        match tree:
            case Number(value):
                return constant(value)
            case Constant(text):
                return self.constant(text)
            case Name(text):
                return self.atom(Key("name", text))
            case Negated(operand):
                return scaled(self.form(operand), Fraction(-1))
            case Combined("^", base, exponent):
                return self.power(base, exponent)
            case Combined(operator, left, right):
                return self.combined(operator, self.form(left), self.form(right))
            case Call(function, arguments):
                return self.call(function, arguments)
            case _:
                raise UnreadError("a mixed number")

    def constant(self, name: str) -> Sum:
        """Return the constant `e`, `i` or pi."""
        if name == "i":
            return self.unit(HALF)
        if name == "e":
            return self.exponential(ONE)
        return self.atom(Key("pi"))

    def atom(self, key: Key, exponent: Fraction = Fraction(1)) -> Sum:
        """Return a power of an atom."""
        return {monomial_of({self.atoms.index(key): exponent}): Fraction(1)}

    def unit(self, exponent: Fraction) -> Sum:
        """Return a power of -1, for an exponent in half turns: e to `i pi exponent`."""
        return self.reduced({self.atoms.index(Key("unit")): exponent}, Fraction(1))

    def combined(self, operator: str, left: Sum, right: Sum) -> Sum:
        """Return the result of an operation."""
        match operator:
            case "+":
                return added(left, right)
            case "-":
                return added(left, scaled(right, Fraction(-1)))
            case "*":
                return self.product(left, right)
            case _:
                return self.product(left, self.rational_power(right, Fraction(-1)))

    def product(self, left: Sum, right: Sum) -> Sum:
        """Return the product of two sums."""
        self.products += len(left) * len(right)
        if self.products > MAX_PRODUCTS:
            raise UnreadError("too large to compare")
        total = Sum()
        for monomial, coefficient in left.items():
            for other, factor in right.items():
                exponents = dict(multiplied(monomial, other))
                total = self.with_term(total, exponents, checked(coefficient * factor))
        return total

    def with_term(self, total: Sum, exponents: dict[int, Fraction], coefficient: Fraction) -> Sum:
        """Return the sum with one more term."""
        reduced = self.reduced(exponents, coefficient)
        if len(reduced) != 1:
            return added(total, reduced)
        # In place: a sum of many terms is not copied for each of them.
        [(monomial, value)] = reduced.items()
        value += total.get(monomial, Fraction(0))
        if value:
            total[monomial] = value
        else:
            total.pop(monomial, None)
        return total

    def reduced(self, exponents: dict[int, Fraction], coefficient: Fraction) -> Sum:
        """Return a term in which powers of -1, primes and absolute values are reduced."""
        factors = list[Sum]()
        for index, exponent in list(exponents.items()):
            key = self.atoms.keys[index]
            whole = exponent.__floor__()
            if key.kind == "unit" and whole:
                coefficient *= (-1) ** (whole % 2)
                exponents[index] = exponent - whole
            elif key.kind == "prime" and whole:
                coefficient *= _whole_power(Fraction(int(key.name)), whole)
                exponents[index] = exponent - whole
            elif key.kind == "abs" and abs(exponent) >= 2:
                pairs = 2 * (exponent / 2).__trunc__()
                exponents[index] = exponent - pairs
                factors.append(self.rational_power(dict(key.arguments[0]), Fraction(pairs)))
        total = {monomial_of(exponents): checked(coefficient)}
        for factor in factors:
            total = self.product(total, factor)
        return total

    def power(self, base: Tree, exponent: Tree) -> Sum:
        """Return a power with any exponent."""
        power = self.form(exponent)
        if not power:
            return self.rational_power(self.form(base), Fraction(0))
        if list(power) == [()]:
            return self.rational_power(self.form(base), power[()])
        return self.exponential(self.product(power, self.exponent_base(self.form(base))))

    def exponent_base(self, base: Sum) -> Sum:
        """Return the logarithm of a base, where that of -1 is a separate atom."""
        logarithm = self.logarithm(base, is_base=True)
        if self.is_complex or self.has_unit(base) or leading_sign(base) > 0:
            return logarithm
        minus_one = Key("logarithm", "", (frozenset(constant(Fraction(-1)).items()),))
        return added(logarithm, self.atom(minus_one))

    def rational_power(self, terms: Sum, exponent: Fraction) -> Sum:
        """Return a power with a rational exponent."""
        if not terms:
            if exponent > 0:
                return {}
            raise UnreadError("a power of zero")
        if exponent == 0:
            return dict(ONE)
        if exponent == 1:
            return terms
        if len(terms) == 1:
            [(monomial, coefficient)] = terms.items()
            return self.power_of_monomial(monomial, coefficient, exponent)
        if exponent.denominator == 1:
            return self.whole_power(terms, int(exponent))
        content, primitive = _content(terms)
        opened = self.expanded(primitive)
        if len(opened) < 2:
            return self.rational_power(scaled(opened, content) if opened else {}, exponent)
        base = self.atom(Key("base", "", (frozenset(opened.items()),)), exponent)
        return self.product(self.number_power(content, exponent), base)

    def whole_power(self, terms: Sum, exponent: int) -> Sum:
        """Return a power of a sum with a whole exponent."""
        factor, primitive = self.factored(terms)
        outside = self.rational_power(factor, Fraction(exponent))
        if len(primitive) < 2:
            return self.product(outside, self.rational_power(primitive, Fraction(exponent)))
        if 0 < exponent <= MAX_EXPANDED_POWER and len(primitive) ** exponent <= MAX_PRODUCTS // 4:
            for _ in range(exponent):
                outside = self.product(outside, primitive)
            return outside
        key = Key("base", "", (frozenset(primitive.items()),))
        return self.product(outside, self.atom(key, Fraction(exponent)))

    def factored(self, terms: Sum) -> tuple[Sum, Sum]:
        """Return the common factor of all terms, and the sum without it, expanded."""
        content, primitive = _content(terms)
        common = common_monomial(primitive)
        inverse = raised(common, Fraction(-1))
        rest = Sum()
        for monomial, coefficient in primitive.items():
            rest = self.with_term(rest, dict(multiplied(monomial, inverse)), coefficient)
        rest = self.expanded(rest)
        if rest and leading_sign(rest) < 0:
            rest = scaled(rest, Fraction(-1))
            content = -content
        return {common: content}, rest

    def power_of_monomial(self, monomial: Monomial, coefficient: Fraction, power: Fraction) -> Sum:
        """Return a power of a monomial; positive factors are raised one by one."""
        if power.denominator == 1:
            coefficient = _whole_power(coefficient, int(power))
            return self.reduced(dict(raised(monomial, power)), coefficient)
        outside = [part for part in monomial if self.is_positive(part[0])]
        inside = tuple([part for part in monomial if not self.is_positive(part[0])])
        total = self.number_power(abs(coefficient), power)
        total = self.product(total, self.reduced(dict(raised(tuple(outside), power)), Fraction(1)))
        sign = coefficient / abs(coefficient)
        if not inside:
            if sign < 0:
                return self.product(total, self.unit(power))
            return total
        if sign > 0 and len(inside) == 1 and self.is_principal(inside[0]):
            return self.product(total, self.reduced(dict(raised(inside, power)), Fraction(1)))
        key = Key("base", "", (frozenset([(inside, sign)]),))
        return self.product(total, self.atom(key, power))

    def is_principal(self, part: tuple[int, Fraction]) -> bool:
        """Return whether the power of a power of an atom has the product of the exponents."""
        index, exponent = part
        return exponent == 1 or (self.atoms.keys[index].kind == "unit" and 0 <= exponent < 1)

    def is_positive(self, index: int) -> bool:
        """Return whether an atom is positive wherever it is not zero."""
        key = self.atoms.keys[index]
        if key.kind in ("prime", "pi"):
            return True
        if key.kind == "abs":
            return not self.is_complex
        if key.kind != "exponential":
            return False
        [(monomial, _)] = key.arguments[0]
        if not monomial:
            return True
        if self.is_complex or self.has_unit({monomial: Fraction(1)}):
            return False
        # `a^b` is the exponential of `b ln(a)`, and negative for some negative `a`.
        return not any(self.is_open_logarithm(part) for part, _ in monomial)

    def is_open_logarithm(self, index: int) -> bool:
        """Return whether an atom is the logarithm of anything but a positive number."""
        key = self.atoms.keys[index]
        if key.kind != "logarithm":
            return False
        argument = dict(key.arguments[0])
        return list(argument) != [()] or argument[()] < 0

    def has_unit(self, terms: Mapping[Monomial, Fraction]) -> bool:
        """Return whether a sum may have values that are not real."""
        for monomial in terms:
            for index, _ in monomial:
                key = self.atoms.keys[index]
                if key.kind == "unit" or any(self.has_unit(dict(part)) for part in key.arguments):
                    return True
        return False

    def number_power(self, number: Fraction, exponent: Fraction) -> Sum:
        """Return a power of a positive number by its primes."""
        exponents = dict[int, Fraction]()
        for prime, count in _primes(number).items():
            exponents[self.atoms.index(Key("prime", str(prime)))] = count * exponent
        return self.reduced(exponents, Fraction(1))

    def exponential(self, terms: Sum) -> Sum:
        """Return e to the power of a sum."""
        total = dict(ONE)
        for monomial, coefficient in terms.items():
            total = self.product(total, self.exponential_of_term(monomial, coefficient))
        return total

    def exponential_of_term(self, monomial: Monomial, coefficient: Fraction) -> Sum:
        """Return e to the power of a term."""
        parts = {(self.atoms.keys[index].kind, exponent) for index, exponent in monomial}
        if parts == {("unit", HALF), ("pi", Fraction(1))} and len(monomial) == 2:
            return self.unit(coefficient)
        if parts == {("logarithm", Fraction(1))} and len(monomial) == 1:
            [argument] = self.atoms.keys[monomial[0][0]].arguments
            return self.rational_power(dict(argument), coefficient)
        key = Key("exponential", "", (frozenset([(monomial, Fraction(1))]),))
        return self.atom(key, coefficient)

    def logarithm(self, terms: Sum, *, is_base: bool = False) -> Sum:
        """Return the natural logarithm of a sum.

        That of a real number is the logarithm of its size, except as the base of a power.
        """
        if not terms:
            raise UnreadError("the logarithm of zero")
        if self.is_complex or self.has_unit(terms):
            return self.complex_logarithm(terms)
        self.uses_sizes = True
        factor, rest = self.factored(terms)
        [(monomial, content)] = factor.items()
        total = self.number_logarithm(abs(content))
        for index, exponent in monomial:
            total = added(total, scaled(self.atom_logarithm(index, is_base=is_base), exponent))
        if len(rest) == 1:
            if rest == ONE:
                return total
            return added(total, self.logarithm(rest))
        return added(total, self.atom(Key("logarithm", "", (frozenset(rest.items()),))))

    def complex_logarithm(self, terms: Sum) -> Sum:
        """Return the logarithm of a complex number; positive factors are split off."""
        content, rest = _content(terms)
        total = self.number_logarithm(content)
        common = common_monomial(rest)
        positive = tuple([part for part in common if self.is_positive(part[0])])
        for index, exponent in positive:
            total = added(total, scaled(self.atom_logarithm(index), exponent))
        inverse = {raised(positive, Fraction(-1)): Fraction(1)}
        rest = self.product(rest, inverse)
        if rest == ONE:
            return total
        return added(total, self.atom(Key("logarithm", "", (frozenset(rest.items()),))))

    def atom_logarithm(self, index: int, *, is_base: bool = True) -> Sum:
        """Return the logarithm of the size of a real atom."""
        key = self.atoms.keys[index]
        if key.kind == "exponential" and (not is_base or self.is_positive(index)):
            return dict(key.arguments[0])
        argument: Sum = {((index, Fraction(1)),): Fraction(1)}
        if key.kind == "base":
            argument = dict(key.arguments[0])
        return self.atom(Key("logarithm", "", (frozenset(argument.items()),)))

    def number_logarithm(self, number: Fraction) -> Sum:
        """Return the logarithm of a positive number by its primes."""
        total = Sum()
        for prime, count in _primes(number).items():
            key = Key("logarithm", "", (frozenset(constant(Fraction(prime)).items()),))
            total = added(total, scaled(self.atom(key), Fraction(count)))
        return total

    def call(self, function: str, arguments: Sequence[Tree]) -> Sum:
        """Return the normal form of a function."""
        if function == SUM:
            return self.finite_sum(*arguments)
        forms = [self.form(argument) for argument in arguments]
        match function:
            case "root":
                return self.rational_power(forms[0], HALF)
            case "exp":
                return self.exponential(forms[0])
            case "ln":
                return self.logarithm(forms[0])
            # A logarithm without a base is a multiple of the natural one.
            case "log":
                return self.product(self.atom(Key("log factor")), self.logarithm(forms[0]))
            case "abs":
                return self.absolute_value(forms[0])
            case "!":
                return self.factorial(forms[0])
            case "binom":
                return self.binomial(*forms)
            case _ if function in TRIGONOMETRIC or function in HYPERBOLIC:
                return self.trigonometric(function, forms[0])
        kind = "application" if function.startswith(UNKNOWN) else "function"
        frozen = [frozenset(self.expanded(form).items()) for form in forms]
        return self.atom(Key(kind, function, tuple(frozen)))

    def trigonometric(self, function: str, argument: Sum) -> Sum:
        """Return a trigonometric or hyperbolic function by exponentials."""
        unit = dict(ONE) if function in HYPERBOLIC else self.unit(HALF)
        turned = self.product(unit, argument)
        up = self.exponential(turned)
        down = self.exponential(scaled(turned, Fraction(-1))) if turned else dict(ONE)
        cosine = scaled(added(up, down), HALF)
        sine = self.combined("/", scaled(added(up, scaled(down, Fraction(-1))), HALF), unit)
        match function:
            case "sin" | "sinh":
                return sine
            case "cos" | "cosh":
                return cosine
            case "tan" | "tanh":
                return self.combined("/", sine, cosine)
            case "cot" | "coth":
                return self.combined("/", cosine, sine)
            case _:
                return self.rational_power(cosine if function == "sec" else sine, Fraction(-1))

    def absolute_value(self, terms: Sum) -> Sum:
        """Return an absolute value; that of a real product is the product of theirs."""
        if not terms:
            return {}
        if self.is_complex or self.has_unit(terms):
            content, rest = _content(terms)
            if leading_sign(rest) < 0:
                rest = scaled(rest, Fraction(-1))
            atom = self.atom(Key("function", "abs", (frozenset(rest.items()),)))
            return scaled(atom, content)
        self.uses_sizes = True
        factor, rest = self.factored(terms)
        [(monomial, content)] = factor.items()
        total = constant(abs(content))
        for index, exponent in monomial:
            size: Sum = {((index, Fraction(1)),): Fraction(1)}
            if not self.is_positive(index):
                size = self.atom(Key("abs", "", (frozenset(size.items()),)))
            total = self.product(total, self.rational_power(size, exponent))
        if len(rest) == 1:
            if rest == ONE:
                return total
            return self.product(total, self.absolute_value(rest))
        return self.product(total, self.atom(Key("abs", "", (frozenset(rest.items()),))))

    def factorial(self, terms: Sum) -> Sum:
        """Return a factorial; whole numbers in the argument become factors."""
        number = terms.get((), Fraction(0)).__floor__()
        if abs(number) > MAX_SHIFT:
            raise UnreadError("a factorial that is too large")
        base = added(terms, constant(Fraction(-number)))
        if not base and number < 0:
            raise UnreadError("the factorial of a negative number")
        total = self.atom(Key("function", "!", (frozenset(base.items()),))) if base else dict(ONE)
        power = Fraction(1)
        if number < 0:
            power = Fraction(-1)
        for shift in range(min(number, 0) + 1, max(number, 0) + 1):
            factor = added(base, constant(Fraction(shift)))
            total = self.product(total, self.rational_power(factor, power))
        return total

    def binomial(self, upper: Sum, lower: Sum) -> Sum:
        """Return a binomial coefficient by factorials, or as a polynomial."""
        rest = added(upper, scaled(lower, Fraction(-1)))
        for count in (lower, rest):
            value = count.get((), Fraction(0))
            if set(count) <= {()} and value.denominator == 1 and 0 <= value <= MAX_SHIFT:
                return self.falling(upper, int(value))
        below = self.product(self.factorial(lower), self.factorial(rest))
        return self.combined("/", self.factorial(upper), below)

    def falling(self, upper: Sum, count: int) -> Sum:
        """Return the number of choices of `count` items as a polynomial."""
        total = dict(ONE)
        for index in range(count):
            factor = added(upper, constant(Fraction(-index)))
            total = scaled(self.product(total, factor), Fraction(1, index + 1))
        return total

    def finite_sum(self, body: Tree, index: Tree, low: Tree, high: Tree) -> Sum:
        """Return the closed form of a sum of a polynomial in its index."""
        assert isinstance(index, Name), "commands.summation checks the index"
        terms = self.expanded(self.form(body))
        atom = self.atoms.index(Key("name", index.text))
        start = self.form(low)
        end = added(self.form(high), ONE)
        total = Sum()
        for monomial, coefficient in terms.items():
            exponents = dict(monomial)
            degree = exponents.pop(atom, Fraction(0))
            factor = monomial_of(exponents)
            if index.text in self.atoms.names(factor) or degree.denominator != 1 or degree < 0:
                raise UnreadError("a sum without a closed form")
            powers = power_sum(int(degree))
            span = added(self.horner(powers, end), scaled(self.horner(powers, start), Fraction(-1)))
            total = added(total, self.product({factor: coefficient}, span))
        return total

    def horner(self, coefficients: Sequence[Fraction], argument: Sum) -> Sum:
        """Return the value of a polynomial, whose coefficients ascend."""
        total = Sum()
        for coefficient in reversed(coefficients):
            total = added(self.product(total, argument), constant(coefficient))
        return total

    def is_zero(self, terms: Sum) -> bool:
        """Return whether a sum is zero once its denominators are multiplied away."""
        terms = self.without_inverse_sizes(terms)
        for _ in range(MAX_ROUNDS):
            bases = self.bases(terms)
            if not terms or not bases:
                break
            shift = dict[int, Fraction]()
            for index in bases:
                least = min(dict(monomial).get(index, Fraction(0)) for monomial in terms)
                shift[index] = Fraction(-least.__floor__())
            shifted = Sum()
            for monomial, coefficient in terms.items():
                exponents = dict(multiplied(monomial, monomial_of(shift)))
                shifted = self.with_term(shifted, exponents, coefficient)
            terms = self.expanded(shifted)
        return not terms

    def without_inverse_sizes(self, terms: Sum) -> Sum:
        """Return the sum with `|a|` over `a^2` for `1/|a|`."""
        total = Sum()
        for monomial, coefficient in terms.items():
            exponents = dict(monomial)
            inverse = dict(ONE)
            for index, exponent in monomial:
                key = self.atoms.keys[index]
                if key.kind == "abs" and exponent < 0:
                    exponents[index] += 2
                    square = self.rational_power(dict(key.arguments[0]), Fraction(-2))
                    inverse = self.product(inverse, square)
            total = added(total, self.product({monomial_of(exponents): coefficient}, inverse))
        return total

    def bases(self, terms: Sum) -> set[int]:
        """Return the sums under a power that has a whole part."""
        bases = set[int]()
        for monomial in terms:
            for index, exponent in monomial:
                if self.atoms.keys[index].kind == "base" and exponent.__floor__():
                    bases.add(index)
        return bases

    def expanded(self, terms: Sum) -> Sum:
        """Return the sum with positive whole powers of sums multiplied out."""
        for _ in range(MAX_ROUNDS):
            total = Sum()
            changed = False
            for monomial, coefficient in terms.items():
                index = self.expandable(monomial)
                if index is None:
                    total = self.with_term(total, dict(monomial), coefficient)
                    continue
                changed = True
                total = added(total, self.opened(monomial, coefficient, index))
            terms = total
            if not changed:
                break
        return terms

    def expandable(self, monomial: Monomial) -> int | None:
        """Return a sum under a positive power in a monomial."""
        for index, exponent in monomial:
            if self.atoms.keys[index].kind == "base" and exponent >= 1:
                return index
        return None

    def opened(self, monomial: Monomial, coefficient: Fraction, index: int) -> Sum:
        """Return a term with the whole power of one sum multiplied out."""
        exponents = dict(monomial)
        whole = exponents[index].__floor__()
        if whole > MAX_EXPANDED_POWER:
            raise UnreadError("a power that is too large")
        exponents[index] -= whole
        total = self.reduced(exponents, coefficient)
        base = dict(self.atoms.keys[index].arguments[0])
        for _ in range(whole):
            total = self.product(total, base)
        return total


def _content(terms: Sum) -> tuple[Fraction, Sum]:
    """Return the greatest positive number that divides all coefficients, and the quotients."""
    numerator = gcd(*[value.numerator for value in terms.values()])
    denominator = lcm(*[value.denominator for value in terms.values()])
    content = Fraction(numerator, denominator)
    return content, scaled(terms, 1 / content)


def _whole_power(base: Fraction, exponent: int) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and bits * abs(exponent) > 4_096:
        raise UnreadError("a power that is too large")
    if abs(base) == 1:
        return base ** (exponent % 2)
    return base**exponent


def _primes(number: Fraction) -> dict[int, int]:
    """Return the exponents of the primes of a positive number."""
    from sympy import factorint

    if max(number.numerator, number.denominator) > MAX_NUMBER:
        raise UnreadError("a number that is too large to factor")
    exponents: dict[int, int] = factorint(number.numerator)
    for prime, count in factorint(number.denominator).items():
        exponents[prime] = -count
    return exponents
