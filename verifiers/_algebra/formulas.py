r"""Formulas with variables as people and models write them, plain or LaTeX, read into a small tree.

    expression = term { ("+" | "-") term }
    term       = factor { ("*" | "/") factor | factor }      juxtaposed: `2x`, `x(x+1)`; in running text only when glued
    factor     = { "-" } power
    power      = postfix [ "^" exponent ]
    postfix    = operand [ "!" ] [ degrees ]
    operand    = number | name | "(" expression ")" | "|" expression "|" | \frac{}{} | \sqrt[n]{} | \binom{}{} | function argument

A name is one letter with its index, two capitals or more (a segment `AB`), or `f(…)`, whose value is not looked into. Bounded in every
direction; beyond a bound, and wherever the notation has two readings (`1/2x`, `-2^2`, `3\frac12`, `2^3^2`, `P(2)`), there is no tree, which
callers take as unknown. Nothing is handed to an interpreter.

What is not covered: vectors, matrices, sets, derivatives, integrals, sums, limits, remainders, floors, inverse functions as powers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifiers._algebra.signs import Kind, Sign

__all__ = ["TRIGONOMETRIC", "Call", "Joined", "Minus", "Name", "Number", "Tree", "names", "parse", "parts"]

MAX_SIGNS = 256
"""The length of the longest side that is read."""
MAX_DEPTH = 24
MAX_DIGITS = 40
TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
CALLED = frozenset("fg")
"""Letters that a bracket always calls; others call or multiply, and of those only `MULTIPLIED` are known to multiply."""
MULTIPLIED = frozenset("abcdeijklmnoxyz")
DIFFERENTIALS = frozenset(["x", "y", "t", "u", "r", "s", "\\theta"])


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written, with the decimals it shows."""

    value: Fraction
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Name:
    r"""A variable, a constant such as `\pi`, or a call, with its argument, that is not looked into."""

    text: str
    argument: "Tree | None" = None


@dataclass(frozen=True, slots=True)
class Minus:
    """Unary minus."""

    operand: "Tree"


@dataclass(frozen=True, slots=True)
class Joined:
    """`left operator right`, the operator one of `+ - * / ^`."""

    operator: str
    left: "Tree"
    right: "Tree"


@dataclass(frozen=True, slots=True)
class Call:
    """A function: one of `TRIGONOMETRIC`, `ln`, `exp`, `log` (of, base), `root` (of, degree), `binom`, `!`, `abs`, `degrees`."""

    function: str
    arguments: tuple["Tree", ...]


Tree = Number | Name | Minus | Joined | Call


class _UnreadError(Exception):
    """Not a formula, one with two readings, or one beyond a bound."""


def parse(signs: Sequence[Sign]) -> Tree | None:
    """The formula that the signs are, all of them; None when they are none."""
    if not 0 < len(signs) <= MAX_SIGNS:
        return None
    reader = _Reader(signs)
    try:
        tree = reader.expression(0)
    except _UnreadError:
        return None
    return tree if reader.at == len(signs) else None


def parts(tree: Tree) -> Iterator[Tree]:
    """The tree and all below it, from left to right."""
    yield tree
    match tree:
        case Minus():
            yield from parts(tree.operand)
        case Joined():
            yield from parts(tree.left)
            yield from parts(tree.right)
        case Call():
            for argument in tree.arguments:
                yield from parts(argument)
        case _:
            pass


def names(tree: Tree) -> frozenset[str]:
    """The variables and calls; pi is none."""
    return frozenset(part.text for part in parts(tree) if isinstance(part, Name) and part.text != "\\pi")


class _Reader:
    """Recursive descent over signs; `at` is the first sign not yet taken."""

    def __init__(self, signs: Sequence[Sign]) -> None:
        self.signs = signs
        self.at = 0

    def expression(self, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise _UnreadError
        tree = self._term(depth, leading=True)
        while self._is(Kind.OPERATOR, "+-"):
            operator = self._take().text
            tree = Joined(operator, tree, self._term(depth, leading=False))
        return tree

    def _term(self, depth: int, *, leading: bool) -> Tree:
        tree, divided = self._factor(depth, leading=leading), False
        while True:
            if self._is(Kind.OPERATOR, "*/"):
                operator = self._take().text
                divided = divided or operator == "/"
            elif not self._juxtaposed():
                return tree
            elif divided or self._is_mixed_number():
                raise _UnreadError
            else:
                operator = "*"
            tree = Joined(operator, tree, self._factor(depth, leading=False))

    def _juxtaposed(self) -> bool:
        """Whether a factor follows without a sign of multiplication."""
        if self.at >= len(self.signs) or self._kind() not in (Kind.NAME, Kind.OPEN, Kind.COMMAND, Kind.NUMBER):
            return False
        sign, before = self.signs[self.at], self.signs[self.at - 1]
        if sign.kind is Kind.OPEN and sign.text == "{" and not sign.math:
            raise _UnreadError
        if sign.kind is Kind.NUMBER and before.kind is not Kind.CLOSE:
            raise _UnreadError
        return sign.glued or sign.math

    def _is_mixed_number(self) -> bool:
        return self.signs[self.at - 1].kind is Kind.NUMBER and self._is(Kind.COMMAND, ("frac",))

    def _factor(self, depth: int, *, leading: bool) -> Tree:
        if not self._is(Kind.OPERATOR, "-"):
            return self._power(depth)
        if depth > MAX_DEPTH:
            raise _UnreadError
        self._take()
        if self._is(Kind.NUMBER) and self._is(Kind.OPERATOR, "^", 1):
            raise _UnreadError
        return Minus(self._factor(depth + 1, leading=leading))

    def _power(self, depth: int) -> Tree:
        base = self._postfix(depth)
        if not self._is(Kind.OPERATOR, "^"):
            return base
        self._take()
        exponent = self._exponent(depth)
        if self._is(Kind.OPERATOR, "^!"):
            raise _UnreadError
        return Joined("^", base, exponent)

    def _exponent(self, depth: int) -> Tree:
        if self._is(Kind.OPEN):
            return self._bracket(depth)
        if self._is(Kind.OPERATOR, "-"):
            self._take()
            return Minus(self._digits())
        if self._is(Kind.NAME):
            return Name(self._take().text)
        return self._digits()

    def _postfix(self, depth: int) -> Tree:
        tree = self._operand(depth)
        if self._is(Kind.OPERATOR, "!"):
            self._take()
            tree = Call("!", (tree,))
        if self._is(Kind.DEGREES):
            self._take()
            tree = Call("degrees", (tree,))
        if self._is(Kind.OPERATOR, "!") or self._is(Kind.DEGREES):
            raise _UnreadError
        return tree

    def _operand(self, depth: int) -> Tree:
        match self._kind():
            case Kind.NUMBER:
                return self._digits()
            case Kind.NAME:
                return self._name(depth)
            case Kind.OPEN:
                return self._bracket(depth)
            case Kind.BAR:
                return self._absolute(depth)
            case Kind.COMMAND:
                return self._command(depth)
            case _:
                raise _UnreadError

    def _digits(self) -> Number:
        sign = self._next(Kind.NUMBER)
        digits = sign.text.replace(",", "")
        if len(digits) > MAX_DIGITS or not digits.isascii():
            raise _UnreadError
        return Number(Fraction(digits), len(digits.partition(".")[2]))

    def _name(self, depth: int) -> Tree:
        name = self._take().text
        if name == "d" and self._kind() is Kind.NAME and self.signs[self.at].text in DIFFERENTIALS:
            raise _UnreadError
        if name[0] in CALLED and self._is(Kind.OPERATOR, "^"):
            raise _UnreadError
        if not self._is(Kind.OPEN, "([") or not self.signs[self.at].glued:
            return Name(name)
        if name[0] in CALLED:
            start = self.at
            argument = self._bracket(depth)
            return Name("".join(sign.text for sign in (self.signs[start - 1], *self.signs[start : self.at])), argument)
        if (name[0] in MULTIPLIED or name == "\\pi") and "'" not in name:
            return Name(name)
        raise _UnreadError

    def _bracket(self, depth: int) -> Tree:
        opening = self._next(Kind.OPEN)
        tree = self.expression(depth + 1)
        closing = self._next(Kind.CLOSE)
        if opening.text + closing.text not in ("()", "[]", "{}"):
            raise _UnreadError
        return tree

    def _absolute(self, depth: int) -> Tree:
        self._next(Kind.BAR)
        tree = self.expression(depth + 1)
        self._next(Kind.BAR)
        return Call("abs", (tree,))

    def _command(self, depth: int) -> Tree:
        command = self._take().text
        if command == "frac":
            return Joined("/", self._group(depth), self._group(depth))
        if command == "binom":
            return Call("binom", (self._group(depth), self._group(depth)))
        if command == "sqrt":
            degree: Tree = Number(Fraction(2))
            if self._is(Kind.OPEN, "["):
                degree = self._bracket(depth)
            return Call("root", (self._group(depth), degree))
        return self._function(command, depth)

    def _group(self, depth: int) -> Tree:
        r"""A bracketed group; `\frac12` and `\sqrt2` have single digits, `\sqrt x` a name."""
        if self._is(Kind.OPEN):
            return self._bracket(depth)
        return Name(self._take().text) if self._is(Kind.NAME) else self._digits()

    def _function(self, function: str, depth: int) -> Tree:
        base = self._base(depth) if function == "log" else ()
        exponent = None
        if self._is(Kind.OPERATOR, "^"):
            self._take()
            exponent = self._exponent(depth)
            if function not in TRIGONOMETRIC or isinstance(exponent, Minus):
                raise _UnreadError
        call = Call(function, (self._argument(depth), *base))
        return call if exponent is None else Joined("^", call, exponent)

    def _base(self, depth: int) -> tuple[Tree, ...]:
        if not self._is(Kind.OPERATOR, "_"):
            return ()
        self._take()
        return (self._group(depth),)

    def _argument(self, depth: int) -> Tree:
        """What a function is applied to: a bracket, or the product that follows it directly."""
        if self._is(Kind.OPEN):
            return self._bracket(depth)
        tree = self._simple(depth)
        while self._kind() in (Kind.NAME, Kind.NUMBER):
            tree = Joined("*", tree, self._simple(depth))
        if self._is(Kind.OPERATOR, "/^!") or self._is(Kind.OPEN) or self._is(Kind.COMMAND, ("frac", "sqrt", "binom")):
            raise _UnreadError
        return tree

    def _simple(self, depth: int) -> Tree:
        if self._is(Kind.COMMAND, ("frac", "sqrt")):
            tree = self._command(depth)
        elif self._is(Kind.NAME):
            tree = Name(self._take().text)
        else:
            tree = self._digits()
        if self._is(Kind.DEGREES):
            self._take()
            return Call("degrees", (tree,))
        return tree

    def _is(self, kind: Kind, among: str | Sequence[str] | None = None, ahead: int = 0) -> bool:
        return self._kind(ahead) is kind and (among is None or self.signs[self.at + ahead].text in among)

    def _kind(self, ahead: int = 0) -> Kind | None:
        return self.signs[self.at + ahead].kind if self.at + ahead < len(self.signs) else None

    def _take(self) -> Sign:
        self.at += 1
        return self.signs[self.at - 1]

    def _next(self, kind: Kind) -> Sign:
        if self._kind() is not kind:
            raise _UnreadError
        return self._take()
