r"""A formula read into a small tree: numbers, names, + - * / ^, roots, factorials, binomials, absolute values, common functions.

    expression = ["+" | "-"] term { ("+" | "-" | "±" | "∓") term }
    term       = signed { ("*" | "/") signed | power }            what stands side by side is multiplied, but not after a "/"
    power      = atom ["!"] [ "^" exponent ]
    atom       = number | name | "(" expression ")" | "|" expression "|" | \frac{}{} | \sqrt[]{} | \binom{}{} | function argument

Bounded in length and depth. Where the notation has two readings (`1/2x`, `2^3^2`, `\sin x(y)`, `f(x)`, `\sqrt12`) there is no tree.
`2\frac{1}{2}` and `2 1/2` are read as mixed numbers that may be products: see `Mixed`.

What is not covered: functions without a name here, sums, integrals, limits, floors, indices but for names (`x_1`), number bases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifiers._answers.tokens import Kind, Token, UnreadError

__all__ = [
    "Binomial",
    "Call",
    "Combined",
    "Constant",
    "Factorial",
    "Mixed",
    "Name",
    "Negated",
    "Node",
    "Number",
    "Root",
    "names",
    "read",
    "walk",
]

MAX_DEPTH = 24
MAX_DIGITS = 200
APPLIED = frozenset("fghFGHPQ")
"""A name of these before a bracket is a function, and which one is not known."""
OPERATORS = {"*": "*", "/": "/", r"\times": "*", r"\cdot": "*", r"\div": "/"}
GROUPS = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written, with the decimals it shows."""

    value: Fraction
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    r"""`\pi`, `e` or `i`."""

    name: str


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Negated:
    """Unary minus."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Combined:
    """`left operator right`, the operator one of `+ - * / ^`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Mixed:
    """A whole number and a proper fraction: their sum as a rule, their product perhaps."""

    whole: Number
    part: Fraction


@dataclass(frozen=True, slots=True)
class Root:
    """The real root of a whole degree."""

    operand: "Node"
    degree: int


@dataclass(frozen=True, slots=True)
class Factorial:
    """`n!`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Binomial:
    """`n` choose `k`."""

    upper: "Node"
    lower: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """A function, `abs` and `degrees` among them, of one argument; `base` is a logarithm's, where it is written."""

    function: str
    operand: "Node"
    base: "Node | None" = None


Node = Number | Constant | Name | Negated | Combined | Mixed | Root | Factorial | Binomial | Call


def read(sequence: Sequence[Token], *, lower_sign: bool = False) -> Node:
    r"""The tree of all the tokens; `lower_sign` takes `-` for `\pm` and `+` for `\mp`. Raises `UnreadError`."""
    reader = _Reader(sequence, lower_sign)
    node = reader.expression(0)
    if reader.at < len(sequence):
        raise UnreadError("not an expression")
    return node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in _children(node):
        yield from walk(child)


def names(node: Node) -> frozenset[str]:
    """The variables."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Name))


def _children(node: Node) -> Sequence[Node]:
    match node:
        case Combined():
            return (node.left, node.right)
        case Binomial():
            return (node.upper, node.lower)
        case Call():
            return (node.operand,) if node.base is None else (node.operand, node.base)
        case Negated() | Root() | Factorial():
            return (node.operand,)
        case _:
            return ()


class _Reader:
    """Recursive descent over tokens; `at` is the first token not yet taken."""

    def __init__(self, sequence: Sequence[Token], lower_sign: bool) -> None:
        self.tokens = sequence
        self.at = 0
        self._signs = {"+": "+", "-": "-", r"\pm": "-" if lower_sign else "+", r"\mp": "+" if lower_sign else "-"}
        self._bars = 0

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise UnreadError("too deep")
        node = self._signed_term(depth)
        while (sign := self._signs.get(self._text())) is not None:
            self.at += 1
            node = Combined(sign, node, self._term(depth))
        return node

    def _signed_term(self, depth: int) -> Node:
        sign = self._signs.get(self._text())
        if sign is None:
            return self._term(depth)
        self.at += 1
        node = self._term(depth)
        return Negated(node) if sign == "-" else node

    def _term(self, depth: int) -> Node:
        node, divided = self._factor(depth), False
        while True:
            operator = OPERATORS.get(self._text())
            if operator is not None:
                self.at += 1
                node = Combined(operator, node, self._factor(depth))
                divided = divided or operator == "/"
            elif self._begins_factor():
                if divided:
                    raise UnreadError("a product after a division")
                node = Combined("*", node, self._power(depth))
            else:
                return node

    def _factor(self, depth: int) -> Node:
        if self._text() != "-":
            return self._power(depth)
        self.at += 1
        if self._text() == "-":
            raise UnreadError("two signs")
        return Negated(self._power(depth))

    def _begins_factor(self) -> bool:
        kind, text = self._kind(), self._text()
        bar = text == "|" and not self._bars
        return kind in (Kind.NAME, Kind.FUNCTION) or text in ("(", "{", r"\frac", r"\sqrt", r"\pi", r"\binom") or bar

    def _power(self, depth: int) -> Node:
        base = self._atom(depth)
        if self._text() == "!":
            self.at += 1
            base = Factorial(base)
        if self._text() != "^":
            return base
        if isinstance(base, Mixed | Call):
            raise UnreadError("a power of what is not bracketed")
        self.at += 1
        exponent = self._exponent(depth)
        if self._text() in ("^", "!"):
            raise UnreadError("a tower of powers")
        return Combined("^", base, exponent)

    def _exponent(self, depth: int) -> Node:
        if self._text() == "-":
            self.at += 1
            return Negated(self._number())
        return self._argument(depth, digits=MAX_DIGITS)

    def _argument(self, depth: int, digits: int = 1) -> Node:
        """A group, or a single name, constant or number of few digits."""
        if self._text() in GROUPS:
            return self._group(depth)
        if self._kind() is Kind.NUMBER:
            number = self._number()
            if len(str(number.value)) > digits:
                raise UnreadError("where an argument ends")
            return number
        if self._kind() is Kind.NAME or self._text() in (r"\pi", r"\frac"):
            return self._atom(depth + 1)
        raise UnreadError("no argument")

    def _group(self, depth: int) -> Node:
        closing = GROUPS[self._take()]
        bars, self._bars = self._bars, 0
        node = self.expression(depth + 1)
        self._bars = bars
        self._expect(closing)
        return node

    def _atom(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise UnreadError("too deep")
        kind, text = self._kind(), self._text()
        if kind is Kind.NUMBER:
            return self._mixed() or self._number()
        if kind is Kind.NAME:
            return self._name()
        if kind is Kind.FUNCTION:
            return self._call(depth)
        if text in GROUPS:
            return self._group(depth)
        return self._special(text, depth)

    def _special(self, text: str, depth: int) -> Node:
        self._take()
        if text == r"\pi":
            return Constant("pi")
        if text == r"\frac":
            return Combined("/", self._argument(depth), self._argument(depth))
        if text == r"\binom":
            return Binomial(self._argument(depth), self._argument(depth))
        if text == r"\sqrt":
            return self._root(depth)
        if text == "|" and not self._bars:
            self._bars = 1
            node = self.expression(depth + 1)
            self._bars = 0
            self._expect("|")
            return Call("abs", node)
        raise UnreadError("not an expression")

    def _root(self, depth: int) -> Node:
        degree = 2
        if self._text() == "[":
            number = self._group(depth)
            if not isinstance(number, Number) or number.value.denominator != 1 or not 2 <= number.value <= MAX_DEPTH:
                raise UnreadError("a root of an odd degree")
            degree = int(number.value)
        return Root(self._argument(depth), degree)

    def _number(self) -> Number:
        if self._kind() is not Kind.NUMBER:
            raise UnreadError("no number")
        digits = self._take().replace(",", "")
        if len(digits) > MAX_DIGITS:
            raise UnreadError("too many digits")
        if self._text() == "_":
            raise UnreadError("a number base")
        if digits.startswith("0") and digits[1:2].isdigit():
            raise UnreadError("leading zeros")
        return Number(Fraction(digits), len(digits.partition(".")[2]))

    def _mixed(self) -> Mixed | None:
        r"""`2\frac{1}{2}` or `2 1/2`, the fraction proper."""
        ahead = self.tokens[self.at + 1 : self.at + 8]
        if [token.text for token in ahead[:1]] == [r"\frac"]:
            shape, parts = "{%}{%}", ahead[1:7]
        elif ahead and ahead[0].kind is Kind.NUMBER and not ahead[0].glued:
            shape, parts = "%/%", ahead[:3]
        else:
            return None
        numbers = [token.text for token in parts if token.kind is Kind.NUMBER]
        written = "".join("%" if token.kind is Kind.NUMBER else token.text for token in parts)
        if written != shape or not all(number.isdigit() and len(number) < MAX_DEPTH for number in numbers):
            return None
        upper, lower = map(int, numbers)
        whole = self.tokens[self.at].text
        if not 0 < upper < lower or "." in whole:
            return None
        node = Mixed(self._number(), Fraction(upper, lower))
        self.at += len(parts) + (shape == "{%}{%}")
        return node

    def _name(self) -> Node:
        name = self._take()
        if self._text() == "_":
            self._take()
            return Name(f"{name}_{self._index()}")
        if name in APPLIED and self._text() == "(":
            raise UnreadError("a function that is not known")
        return Constant(name) if name in ("e", "i") else Name(name)

    def _index(self) -> str:
        if self._text() != "{":
            return self._take()
        end = next((at for at in range(self.at, len(self.tokens)) if self.tokens[at].text == "}"), None)
        if end is None:
            raise UnreadError("an index without end")
        inner = "".join(token.text for token in self.tokens[self.at + 1 : end])
        self.at = end + 1
        return inner

    def _call(self, depth: int) -> Node:
        function, power, base = self._take(), None, None
        if self._text() == "_" and function == "log":
            self._take()
            base = self._argument(depth, digits=MAX_DEPTH)
        if self._text() == "^":
            self._take()
            power = self._argument(depth)
            if not isinstance(power, Number) or power.value < 2:
                raise UnreadError("a function to a power")
        node: Node = Call(function, self._operand(depth), base)
        if self._text() in ("^", "!"):
            raise UnreadError("a power of what is not bracketed")
        return node if power is None else Combined("^", node, power)

    def _operand(self, depth: int) -> Node:
        """A group; or all the numbers, names and fractions that follow."""
        if self._text() in ("(", "{", "|", r"\sqrt"):
            return self._degrees(self._atom(depth + 1))
        node = self._power(depth + 1) if self._kind() is Kind.NUMBER else None
        while self._kind() is Kind.NAME or self._text() in (r"\pi", r"\frac"):
            factor = self._power(depth + 1)
            node = factor if node is None else Combined("*", node, factor)
        if node is None or self._text() in ("(", "/", r"\div", "|"):
            raise UnreadError("where a function's argument ends")
        return self._degrees(node)

    def _degrees(self, node: Node) -> Node:
        if self._text() != r"\circ":
            return node
        self._take()
        return Call("degrees", node)

    def _kind(self) -> Kind | None:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else None

    def _text(self) -> str:
        """The next token, when it is no text."""
        return self.tokens[self.at].text if self.at < len(self.tokens) and self._kind() is not Kind.TEXT else ""

    def _take(self) -> str:
        if self.at >= len(self.tokens):
            raise UnreadError("breaks off")
        if self._kind() is Kind.TEXT:
            raise UnreadError("words in a formula")
        self.at += 1
        return self.tokens[self.at - 1].text

    def _expect(self, text: str) -> None:
        if self._take() != text:
            raise UnreadError("unbalanced")
