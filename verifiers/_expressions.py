r"""Closed arithmetic as people and models write it, read into a small tree and evaluated exactly.

    expression = term { ("+" | "-") term }
    term       = factor { ("*" | "/") factor | "(" expression ")" }        a bracket glued to what is before it multiplies
    factor     = { "-" } power
    power      = operand [ "^" exponent ]
    operand    = [ currency ] number [ "%" ] [ unit ] | "(" expression ")" [ unit ] | \frac{}{} | \sqrt{}

Bounded in every direction; beyond a bound, and wherever the notation has two readings (`2^3^2`, `-2^2`, `6 / 2(3)`, `2 1/2`), there is no
tree, which callers take as unknown. Nothing is handed to an interpreter.

What is not covered: variables, functions but exact square roots, number words, mixed numbers, scientific notation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from verifiers._lexicon import CONNECTIVES, PROSE, singular
from verifiers._tokens import Kind, Token

__all__ = ["MAX_TOKENS", "Combined", "Literal", "Negated", "Node", "Root", "apply", "bare", "leaves", "parse", "value"]

MAX_TOKENS = 256
"""The length of the longest expression that is read."""
MAX_DEPTH = 32
MAX_DIGITS = 60
MAX_EXPONENT = 64
MAX_BITS = 8_192
MAX_UNIT_WORDS = 6


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as written: `value` without its percent sign, the decimals it shows, and the words that name its unit."""

    value: Fraction
    decimals: int = 0
    percent: bool = False
    unit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Negated:
    """Unary minus."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Root:
    """A square root; it has a value when that is rational."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Combined:
    """`left operator right`, the operator one of `+ - * / ^`."""

    operator: str
    left: "Node"
    right: "Node"


Node = Literal | Negated | Root | Combined


class _UnreadError(Exception):
    """Not closed arithmetic, or beyond a bound."""


def parse(tokens: Sequence[Token]) -> tuple[Node, int] | None:
    """The longest expression that the tokens begin with, and how many of them it takes; None when they begin with none."""
    reader = _Reader(tokens[: MAX_TOKENS + 1])
    try:
        node = reader.expression(0)
    except _UnreadError:
        return None
    return (node, reader.at) if reader.at <= MAX_TOKENS else None


def value(node: Node, *, percent_is_hundredth: bool = True) -> Fraction | None:
    """The exact value; None for a division by zero, an irrational root, a power that is too large."""
    try:
        return _value(node, percent_is_hundredth)
    except (_UnreadError, ZeroDivisionError):
        return None


def bare(node: Node) -> Literal | None:
    """The literal that the node is, be it negated; None when there is more to it."""
    while isinstance(node, Negated):
        node = node.operand
    return node if isinstance(node, Literal) else None


def leaves(node: Node) -> Iterator[Literal]:
    """The literals, from left to right."""
    if isinstance(node, Literal):
        yield node
    elif isinstance(node, Combined):
        yield from leaves(node.left)
        yield from leaves(node.right)
    else:
        yield from leaves(node.operand)


def _value(node: Node, hundredth: bool) -> Fraction:
    match node:
        case Literal():
            return node.value / 100 if node.percent and hundredth else node.value
        case Negated():
            return -_value(node.operand, hundredth)
        case Root():
            return _root(_value(node.operand, hundredth))
        case Combined("^", left, right):
            return _power(_value(left, hundredth), _value(right, hundredth))
        case Combined(operator, left, right):
            return apply(operator, _value(left, hundredth), _value(right, hundredth))


def apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    """One of the four operations; `ZeroDivisionError` as usual."""
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > MAX_BITS or (base == 0 and exponent <= 0):
        raise _UnreadError
    return base ** int(exponent)


def _root(square: Fraction) -> Fraction:
    if square < 0:
        raise _UnreadError
    root = Fraction(isqrt(square.numerator), isqrt(square.denominator))
    if root * root != square:
        raise _UnreadError
    return root


class _Reader:
    """Recursive descent over tokens; `at` is the first token not yet taken."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _UnreadError
        node = self._term(depth)
        while (operator := self._operator("+-")) is not None:
            before, self.at = self.at, self.at + 1
            try:
                node = Combined(operator, node, self._term(depth))
            except _UnreadError:
                self.at = before
                break
        return node

    def _term(self, depth: int) -> Node:
        node, divided = self._factor(depth), False
        while True:
            before = self.at
            operator = self._operator("*/")
            if operator is not None:
                self.at += 1
            elif not self._at_glued_bracket():
                return node
            elif divided:
                raise _UnreadError
            try:
                node = Combined(operator or "*", node, self._factor(depth))
            except _UnreadError:
                self.at = before
                if operator is None:
                    raise
                return node
            divided = divided or operator == "/"

    def _factor(self, depth: int) -> Node:
        if self._operator("-") is None:
            return self._power(depth)
        self.at += 1
        if depth > MAX_DEPTH:
            raise _UnreadError
        operand = self._factor(depth + 1)
        if isinstance(operand, Combined) and operand.operator == "^":
            raise _UnreadError
        return Negated(operand)

    def _power(self, depth: int) -> Node:
        base = self._operand(depth)
        if self._operator("^") is None:
            return base
        self.at += 1
        exponent = self._exponent(depth)
        if self._operator("^") is not None:
            raise _UnreadError
        self._unit()
        return Combined("^", base, exponent)

    def _exponent(self, depth: int) -> Node:
        if self._kind() is Kind.OPEN:
            return self._bracket(depth)
        if self._operator("-") is not None:
            self.at += 1
            return Negated(self._number())
        return self._number()

    def _operand(self, depth: int) -> Node:
        kind = self._kind()
        if kind is Kind.OPEN:
            return self._with_unit(self._bracket(depth))
        if kind is Kind.FRACTION:
            self.at += 1
            return self._with_unit(Combined("/", self._argument(depth), self._argument(depth)))
        if kind is Kind.ROOT:
            self.at += 1
            return Root(self._argument(depth))
        return self._number()

    def _argument(self, depth: int) -> Node:
        """A braced group; `frac1{2}` and `sqrt2` have single digits."""
        return self._bracket(depth) if self._kind() is Kind.OPEN else self._number()

    def _bracket(self, depth: int) -> Node:
        opening = self._next(Kind.OPEN)
        node = self.expression(depth + 1)
        closing = self._next(Kind.CLOSE)
        if opening.text + closing.text not in ("()", "[]", "{}"):
            raise _UnreadError
        return node

    def _number(self) -> Literal:
        currency = self._kind() is Kind.CURRENCY
        if currency:
            self.at += 1
        token = self._next(Kind.NUMBER)
        digits = token.text.replace(",", "")
        if len(digits) > MAX_DIGITS:
            raise _UnreadError
        decimals = len(digits.partition(".")[2])
        percent = self._kind() is Kind.PERCENT
        if percent:
            self.at += 1
        unit = (("dollar",) if currency else ()) + (() if self._at_glued_bracket() else self._unit())
        return Literal(Fraction(digits if decimals else int(digits)), decimals, percent, unit)

    def _with_unit(self, node: Node) -> Node:
        self._unit()
        return node

    def _unit(self) -> tuple[str, ...]:
        """The words that name a unit: `apples`, `miles per hour`, `/day`, `cm^2`; a remark in brackets, `(pencils)`, is passed over."""
        start, words = self.at, list[str]()
        while self._at_unit_word() or (self._operator("/") is not None and self._kind(1) is Kind.WORD):
            words.append(self.tokens[self.at].text)
            self.at += 1
        if len(words) > MAX_UNIT_WORDS:
            self.at = start
            return ()
        if words and self._operator("^") is not None and self._kind(1) is Kind.NUMBER and self.tokens[self.at + 1].text in "23":
            self.at += 2
        self._pass_remark()
        return tuple(singular(word) for word in words if word.lower() not in PROSE and word != "/")

    def _pass_remark(self) -> None:
        if self._kind() is not Kind.OPEN:
            return
        end = self.at + 1
        while end < len(self.tokens) and self.tokens[end].text.isalpha() and len(self.tokens[end].text) > 1:
            end += 1
        if end > self.at + 1 and end < len(self.tokens) and self.tokens[end].kind is Kind.CLOSE:
            self.at = end + 1

    def _at_unit_word(self) -> bool:
        return self._kind() is Kind.WORD and self.tokens[self.at].text.lower() not in CONNECTIVES

    def _operator(self, among: str) -> str | None:
        if self._kind() is Kind.OPERATOR and self.tokens[self.at].text in among:
            return self.tokens[self.at].text
        return None

    def _at_glued_bracket(self) -> bool:
        return self._kind() is Kind.OPEN and self.tokens[self.at].glued and self.tokens[self.at].text == "("

    def _kind(self, ahead: int = 0) -> Kind | None:
        return self.tokens[self.at + ahead].kind if self.at + ahead < len(self.tokens) else None

    def _next(self, kind: Kind) -> Token:
        if self._kind() is not kind:
            raise _UnreadError
        self.at += 1
        return self.tokens[self.at - 1]
