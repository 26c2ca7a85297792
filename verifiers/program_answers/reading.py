r"""Read an answer as programs and computer algebra systems print it: `x**2 + 2*x`, `%e^(%i*x)`.

The notation is that of Python, SymPy and Maxima: every operator is written, `**` is `^` and binds
to the right, `-x^2` is `-(x^2)`, a name has any number of letters and is case-sensitive, `x[1]` is
a name, and `f(x)` is an application. Anything else raises UnreadError: a product without a sign, a
unit, a command of LaTeX, a percent sign that begins no constant.

    statement   = disjunction [ ("xor" | "implies" | "iff") disjunction ]
    disjunction = conjunction { "or" conjunction }
    conjunction = condition { "and" condition }
    condition   = "not" condition | sum { ("=" | "<" | "#" | ...) sum }
    sum         = product { ("+" | "-") product }
    product     = signed { ("*" | "/") signed }
    signed      = ("-" | "+") signed | postfix [ "^" signed ]
    postfix     = operand { "!" }
    operand     = number | name | name "(" [ statement { "," statement } ] ")"
                | "(" statement { "," statement } ")" | "[" ... "]" | "{" ... "}"
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from verifiers.math.syntax import PI, Combined, Constant, E, I, Name, Negated, Number, UnreadError
from verifiers.program_answers.commands import apply
from verifiers.program_answers.statements import (
    STATEMENTS,
    Collection,
    Form,
    Junction,
    Negation,
    Proposition,
    Region,
    Relation,
    Statement,
    Truth,
    junction,
    size,
)

MAX_CHARS = 600
MAX_DEPTH = 24
MAX_DIGITS = 40
MAX_PARTS = 800
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?![\w.])|\.\d+(?![\w.]))"
    r"|(?P<name>'?%?[A-Za-z][A-Za-z0-9_]*(?:\.[a-z]+(?=\())?(?:\[[A-Za-z0-9]{1,8}\])?)"
    r"|(?P<sign>\*\*|:=|(?<=\s)!=|==|<=|>=|!(?!=)|[-+*/^\#=<>()\[\]{},&|~]))"
)
# `x!=1` is a factorial for Maxima and an inequality for Python; it needs a space in front.
# What only a program writes, or a relation, whose reading is the same in plain text.
MARK = re.compile(
    r"\*|%(?:pi|e|i|union)(?![A-Za-z])|#|!=|==|[A-Za-z]{2}\(|[A-Za-z]\.[a-z]+\(|\b(?:nounor|nounand)\b"
    # A set of names with indices in brackets.
    r"|\{[A-Za-z]\w*\[\d+\]\s*[,}]"
)
CONNECTED = re.compile(r"\b(?:and|or|not|xor|implies|iff)\b")
COMPARED = re.compile(r"[<>=#]")
# A name in plain text could be a product of variables.
PLAIN_NAME = re.compile(r"[A-Za-z]\d*(?:_[A-Za-z0-9]{1,3})?")
CONSTANTS = {"%pi": PI, "pi": PI, "Pi": PI, "%e": E, "%i": I}
TRUTHS = {"true": True, "True": True, "false": False, "False": False}
WORDS_OF_SETS = {"all": True, "none": False, "Reals": True, "EmptySet": False}
CONNECTIVES = {"nounor": "or", "%or": "or", "|": "or", "nounand": "and", "%and": "and", "&": "and"}
CONNECTIVES |= {"~": "not", "nounnot": "not", "or": "or", "and": "and", "not": "not"}
CONNECTIVES |= {"xor": "xor", "implies": "implies", "iff": "iff"}
# The relation, and whether its sides are in reverse order.
RELATIONS = {"=": ("=", False), "==": ("=", False), "#": ("#", False), "!=": ("#", False)}
RELATIONS |= {"<": ("<", False), "<=": ("<=", False), ">": ("<", True), ">=": ("<=", True)}
PLUS_MINUS = "#pm#"
CLOSING = {"(": ")", "[": "]", "{": "}"}


def is_readable(text: str) -> bool:
    """Return whether a text may be in the notation of programs, without reading it."""
    return text.isascii() and len(text) <= MAX_CHARS and "\\" not in text and "$" not in text


def is_marked(text: str) -> bool:
    """Return whether a text has notation that only programs use."""
    return MARK.search(text) is not None


def is_compared(text: str) -> bool:
    """Return whether a text contains relations or connectives."""
    return COMPARED.search(text) is not None or CONNECTED.search(text) is not None


def read(text: str, *, is_plain: bool = False) -> Form:
    """Return the form of a whole text.

    With `is_plain`, every name must be one letter with or without an index. Raises UnreadError.
    """
    parser = _Parser(_tokens(text), is_plain)
    form = parser.statement(0)
    if parser.next() != "":
        raise UnreadError("not the notation of a program")
    if size(form) > MAX_PARTS:
        raise UnreadError("too long")
    return form


def read_signs(text: str, *, is_plain: bool = False) -> Form:
    """Return the form of a text, in which Maxima's `#pm#` means two values or two statements."""
    if PLUS_MINUS not in text:
        return read(text, is_plain=is_plain)
    both = [read(text.replace(PLUS_MINUS, sign), is_plain=is_plain) for sign in "+-"]
    statements = [form for form in both if isinstance(form, STATEMENTS)]
    return junction(False, statements) if statements else Collection("{", tuple(both))


def _tokens(text: str) -> Sequence[tuple[str, str]]:
    text = text.strip()
    tokens = list[tuple[str, str]]()
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise UnreadError("not the notation of a program")
        position = match.end()
        kind = str(match.lastgroup)
        token = match[kind]
        if token in CONNECTIVES:
            kind = "connective"
            token = CONNECTIVES[token]
        # `'diff(x*y, x)` is not evaluated: y may depend on x.
        if token != "'diff":
            token = token.removeprefix("'")
        tokens.append((kind, token))
    return [*tokens, ("end", "")]


class _Parser:
    """A recursive-descent parser of one sequence of tokens."""

    def __init__(self, tokens: Sequence[tuple[str, str]], is_plain: bool) -> None:
        self.tokens = tokens
        self.is_plain = is_plain
        self.position = 0

    def next(self, kind: str = "") -> str:
        """Return the text of the next token; it is empty for another kind, and at the end."""
        token_kind, text = self.tokens[self.position]
        if kind and kind != token_kind:
            return ""
        return text

    def take(self) -> str:
        """Return the next token and pass it."""
        text = self.tokens[self.position][1]
        if not text:
            raise UnreadError("incomplete")
        self.position += 1
        return text

    def statement(self, depth: int) -> Form:
        """Read a statement or an expression."""
        if depth > MAX_DEPTH:
            raise UnreadError("too deep")
        left = self.junction(depth, is_and=False)
        connective = self.next("connective")
        if connective not in ("xor", "implies", "iff"):
            return left
        self.take()
        return _connected(connective, left, self.junction(depth, is_and=False))

    def junction(self, depth: int, *, is_and: bool) -> Form:
        """Read statements between `or`, or between `and`."""
        items = [self.connected(depth, is_and)]
        while self.next("connective") == ("and" if is_and else "or"):
            self.take()
            items.append(self.connected(depth, is_and))
        if len(items) == 1:
            return items[0]
        return Junction(is_and, tuple([as_statement(item) for item in items]))

    def connected(self, depth: int, is_and: bool) -> Form:
        """Read one of the statements of a junction."""
        return self.condition(depth) if is_and else self.junction(depth, is_and=True)

    def condition(self, depth: int) -> Form:
        """Read a relation, a chain of relations or an expression."""
        if self.next("connective") == "not":
            self.take()
            if depth > MAX_DEPTH:
                raise UnreadError("too deep")
            return Negation(as_statement(self.condition(depth + 1)))
        left = self.sum(depth)
        items = list[Statement]()
        while self.next("sign") in RELATIONS:
            operator, is_reversed = RELATIONS[self.take()]
            right = self.sum(depth)
            items.append(_relation(operator, *((right, left) if is_reversed else (left, right))))
            left = right
        if not items:
            return left
        return junction(True, items)

    def sum(self, depth: int) -> Form:
        """Read a sum."""
        return self.chain(depth, "+-", self.product)

    def product(self, depth: int) -> Form:
        """Read a product."""
        return self.chain(depth, "*/", self.signed)

    def chain(self, depth: int, operators: str, read_item: Callable[[int], Form]) -> Form:
        """Read items between operators, which are applied from left to right."""
        form = read_item(depth)
        while self.next("sign") in list(operators):
            operator = self.take()
            form = Combined(operator, as_tree(form), as_tree(read_item(depth)))
        return form

    def signed(self, depth: int) -> Form:
        """Read a power with signs before it."""
        if depth > MAX_DEPTH:
            raise UnreadError("too deep")
        sign = self.next("sign")
        if sign in ("+", "-"):
            self.take()
            operand = as_tree(self.signed(depth + 1))
            return Negated(operand) if sign == "-" else operand
        base = self.postfix(depth)
        if self.next("sign") not in ("^", "**"):
            return base
        self.take()
        return Combined("^", as_tree(base), as_tree(self.signed(depth + 1)))

    def postfix(self, depth: int) -> Form:
        """Read an operand and factorial signs."""
        form = self.operand(depth)
        while self.next("sign") == "!":
            self.take()
            form = apply("factorial", (form,))
        return form

    def operand(self, depth: int) -> Form:
        """Read a number, a name, an application or a bracket."""
        kind, text = self.tokens[self.position]
        if kind == "number":
            return _number(self.take())
        if kind == "name":
            return self.name(depth)
        if text not in CLOSING:
            raise UnreadError("not the notation of a program")
        items = self.bracketed(depth)
        if text == "(" and len(items) == 1:
            return items[0]
        # `[x]` may be a floor.
        if not items or (text == "[" and len(items) == 1):
            raise UnreadError("a bracket with fewer than two items")
        return Collection(text, tuple(items))

    def bracketed(self, depth: int) -> Sequence[Form]:
        """Read the items of a bracket."""
        closing = CLOSING[self.take()]
        items = list[Form]()
        while self.next("sign") != closing:
            if items and self.take() != ",":
                raise UnreadError("unbalanced")
            items.append(self.statement(depth + 1))
        self.take()
        return items

    def name(self, depth: int) -> Form:
        """Read a name or an application."""
        name = self.take()
        if self.next("sign") == "(":
            return apply(name, self.bracketed(depth))
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in TRUTHS:
            return Truth(TRUTHS[name])
        if "%" in name or "." in name:
            raise UnreadError("an unknown constant")
        if self.is_plain and not PLAIN_NAME.fullmatch(name):
            raise UnreadError("a name of several letters")
        return Name(name)


def read_word(text: str) -> Statement | None:
    """Return the statement of a word for all numbers or none: `all`, `EmptySet`."""
    value = WORDS_OF_SETS.get(text.strip())
    return None if value is None else Truth(value)


def as_tree(form: Form) -> "Name | Number | Combined | Negated":
    """Return an expression. Raises UnreadError for a statement."""
    if isinstance(form, (*STATEMENTS, Collection, Region)):
        raise UnreadError("a statement in an expression")
    return form  # type: ignore[return-value]


def as_statement(form: Form) -> Statement:
    """Return a statement; a name alone is a proposition. Raises UnreadError for an expression."""
    if isinstance(form, STATEMENTS):
        return form
    if isinstance(form, Name) and not isinstance(form, Constant):
        return Proposition(form.text)
    raise UnreadError("an expression among statements")


def _relation(operator: str, left: Form, right: Form) -> Relation:
    return Relation(operator, as_tree(left), as_tree(right))


def _connected(connective: str, left: Form, right: Form) -> Statement:
    a = as_statement(left)
    b = as_statement(right)
    if connective == "implies":
        return Junction(False, (Negation(a), b))
    both = Junction(True, (a, b))
    neither = Junction(True, (Negation(a), Negation(b)))
    equal = Junction(False, (both, neither))
    return equal if connective == "iff" else Negation(equal)


def _number(text: str) -> Number:
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS:
        raise UnreadError("too many digits")
    decimals = len(mantissa.partition(".")[2])
    value = Fraction(mantissa)
    if exponent:
        value *= Fraction(10) ** int(exponent)
        decimals = max(decimals - int(exponent), 1)
    return Number(value, decimals)
