r"""The grammar that all dialects share, as a recursive-descent parser.

    expression = term { ("+" | "-") term }
    term       = factor { ("*" | "/") factor | power }   a power alone: juxtaposed, as in `2x`
    factor     = "-" factor | power
    power      = postfix [ "^" exponent ]
    postfix    = operand [ "!" ]
    operand    = number | name | "(" expression ")" | "|" expression "|"
               | \frac{}{} | \binom{}{} | \sqrt[]{} | function argument
    exponent   = [ "-" ] number | argument
    argument   = "(" expression ")" | name | number

A dialect (see `verifiers.math.dialects`) is a subclass that overrides bounds and the rules where
notations differ. Length, depth and digits are bounded. Text with two readings, such as `1/2x` or
`2^3^2`, raises UnreadError. No text is passed to an interpreter.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import ClassVar

from verifiers.math import lexer
from verifiers.math.lexer import COMMANDS, Kind, Token
from verifiers.math.syntax import Call, Combined, Name, Negated, Number, Tree, UnreadError

SQUARE = Number(Fraction(2))
END = Token(Kind.END, "")
BRACKETS = ("()", "[]", "{}")
MULTIPLICATION = {
    "*": "*",
    "/": "/",
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
    lexer.OBELUS: "/",
    lexer.LETTER_TIMES: "*",
    lexer.WORD_TIMES: "*",
}


class Parser:
    """A parser of one sequence of tokens; `position` is the index of the next token."""

    max_depth: ClassVar[int] = 24
    max_digits: ClassVar[int] = 40
    max_bare_digits: ClassVar[int | None] = None
    r"""The digits of an argument without braces, as in `\frac12`; None for any number."""
    functions: ClassVar[frozenset[str]] = frozenset()
    accepts_prefix: ClassVar[bool] = False
    """Whether the expression may end before the tokens do: then an operator without a right operand
    ends it."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        # Two tokens, since some rules look one token ahead.
        self.tokens = [*tokens, END, END]
        self.position = 0
        self.open_bars = 0

    def parse_all(self) -> Tree:
        """Return the tree of all tokens. Raises UnreadError."""
        tree = self.expression(0)
        if self.kind() is not Kind.END:
            raise UnreadError("not an expression")
        return tree

    def expression(self, depth: int) -> Tree:
        """Read a sum."""
        self.check_depth(depth)
        tree = self.leading_term(depth)
        while self.at(Kind.OPERATOR, "+-"):
            operator = self.text()
            right = self.right_operand(self.term, depth)
            if right is None:
                break
            tree = Combined(operator, tree, right)
        return tree

    def leading_term(self, depth: int) -> Tree:
        """Read the first term of a sum."""
        return self.term(depth)

    def term(self, depth: int) -> Tree:
        """Read a product."""
        tree = self.factor(depth)
        divided = False
        while True:
            operator = MULTIPLICATION.get(self.text())
            if operator is None:
                if not self.multiplies():
                    return tree
                # `1/2x` may be (1/2)x or 1/(2x).
                if divided:
                    raise UnreadError("a product after a division")
                tree = Combined("*", tree, self.power(depth))
                continue
            divided = divided or operator == "/"
            right = self.right_operand(self.factor, depth)
            if right is None:
                return tree
            tree = Combined(operator, tree, right)

    def right_operand(self, read: Callable[[int], Tree], depth: int) -> Tree | None:
        """Pass an operator and read what follows; None if the expression ends before it."""
        before = self.position
        self.take()
        try:
            return read(depth)
        except UnreadError:
            if not self.accepts_prefix:
                raise
            self.position = before
            return None

    def multiplies(self) -> bool:
        """Return whether the next tokens are a factor without a multiplication sign."""
        raise NotImplementedError

    def factor(self, depth: int) -> Tree:
        """Read a power with signs."""
        if not self.at(Kind.OPERATOR, "-"):
            return self.power(depth)
        self.check_depth(depth)
        self.take()
        return Negated(self.negated(depth))

    def negated(self, depth: int) -> Tree:
        """Read what a minus sign negates."""
        return self.factor(depth + 1)

    def power(self, depth: int) -> Tree:
        """Read an operand and its exponent."""
        base = self.postfix(depth)
        if not self.at(Kind.OPERATOR, "^"):
            return base
        self.take()
        exponent = self.exponent(depth)
        if self.at(Kind.OPERATOR, "^!"):
            raise UnreadError("a tower of powers")
        return self.measured(Combined("^", base, exponent))

    def exponent(self, depth: int) -> Tree:
        """Read an exponent."""
        if self.at(Kind.OPERATOR, "-"):
            self.take()
            return Negated(self.number())
        return self.argument(depth)

    def postfix(self, depth: int) -> Tree:
        """Read an operand and the signs behind it."""
        tree = self.operand(depth)
        if self.at(Kind.OPERATOR, "!"):
            self.take()
            return Call("!", (tree,))
        return tree

    def operand(self, depth: int) -> Tree:
        """Read an operand."""
        self.check_depth(depth)
        match self.kind():
            case Kind.NUMBER | Kind.CURRENCY:
                return self.number()
            case Kind.NAME:
                return self.name(depth)
            case Kind.OPEN:
                return self.measured(self.bracket(depth))
            case Kind.BAR:
                return self.absolute_value(depth)
            case Kind.COMMAND:
                return self.command(depth)
            case _:
                self.take()
                raise UnreadError("not an expression")

    def number(self) -> Number:
        """Read a number."""
        if self.kind() is not Kind.NUMBER:
            raise UnreadError("no number")
        written = self.take().text
        digits = written.replace(",", "")
        if len(digits) > self.max_digits:
            raise UnreadError("too many digits")
        # int is several times as fast as Fraction in reading digits.
        if "." not in digits:
            return Number(Fraction(int(digits)), has_commas=digits != written)
        decimals = len(digits.partition(".")[2])
        return Number(Fraction(digits), decimals, has_commas=digits != written)

    def name(self, depth: int) -> Tree:
        """Read a name as an operand."""
        return self.simple_name()

    def simple_name(self) -> Tree:
        """Read a name that is not applied to anything."""
        return Name(self.take().text)

    def measured(self, tree: Tree) -> Tree:
        """Read the unit after a tree."""
        return tree

    def bracket(self, depth: int) -> Tree:
        """Read a bracketed expression; bars outside the bracket do not count inside."""
        opening = self.take()
        bars = self.open_bars
        self.open_bars = 0
        tree = self.expression(depth + 1)
        self.open_bars = bars
        closing = self.take()
        if opening.text + closing.text not in BRACKETS:
            raise UnreadError("unbalanced")
        return tree

    def absolute_value(self, depth: int) -> Tree:
        """Read `|…|`."""
        self.take()
        self.open_bars += 1
        tree = self.expression(depth + 1)
        self.open_bars -= 1
        if self.take().kind is not Kind.BAR:
            raise UnreadError("unbalanced")
        return Call("abs", (tree,))

    def command(self, depth: int) -> Tree:
        """Read a command and its arguments."""
        spelling = self.take().text
        command = COMMANDS.get(spelling, spelling)
        if command == "\\frac":
            numerator = self.argument(depth, self.max_bare_digits)
            denominator = self.argument(depth, self.max_bare_digits)
            return self.measured(Combined("/", numerator, denominator))
        if command == "\\binom":
            upper = self.argument(depth, self.max_bare_digits)
            return Call("binom", (upper, self.argument(depth, self.max_bare_digits)))
        if command == "\\sqrt":
            return self.root(depth)
        function = command.removeprefix("\\")
        if function not in self.functions:
            raise UnreadError("not an expression")
        return self.function(function, depth)

    def argument(self, depth: int, max_digits: int | None = None) -> Tree:
        """Read a bracket, a name or a number: an exponent or the argument of a command."""
        if self.kind() is Kind.OPEN:
            return self.bracket(depth)
        if self.kind() is Kind.NAME:
            return self.simple_name()
        number = self.number()
        if max_digits is not None and len(str(number.value)) > max_digits:
            raise UnreadError("the end of an argument is ambiguous")
        return number

    def root(self, depth: int) -> Tree:
        r"""Read what follows `\sqrt`."""
        degree: Tree = SQUARE
        if self.at(Kind.OPEN, "["):
            degree = self.degree(depth)
        radicand = self.argument(depth, self.max_bare_digits)
        return Call("root", (radicand,) if degree == SQUARE else (radicand, degree))

    def degree(self, depth: int) -> Tree:
        """Read the degree of a root."""
        return self.bracket(depth)

    def function(self, function: str, depth: int) -> Tree:
        """Read what follows the name of a function."""
        arguments = list[Tree]()
        if function == "log" and self.at(Kind.OPERATOR, "_"):
            self.take()
            arguments.append(self.argument(depth))
        exponent = None
        if self.at(Kind.OPERATOR, "^"):
            self.take()
            exponent = self.function_exponent(function, depth)
        arguments.insert(0, self.function_argument(depth))
        call = Call(function, tuple(arguments))
        return call if exponent is None else Combined("^", call, exponent)

    def function_exponent(self, function: str, depth: int) -> Tree:
        r"""Read the exponent of a function, as in `\sin^2 x`."""
        raise NotImplementedError

    def function_argument(self, depth: int) -> Tree:
        """Read the argument of a function."""
        raise NotImplementedError

    def check_depth(self, depth: int) -> None:
        """Raise UnreadError if expressions are nested too deeply."""
        if depth > self.max_depth:
            raise UnreadError("too deep")

    def at(self, kind: Kind, texts: str) -> bool:
        """Return whether the next token has this kind and a text of one character in `texts`."""
        token = self.tokens[self.position]
        return token.kind is kind and token.text in texts

    def kind(self, ahead: int = 0) -> Kind:
        """Return the kind of the next token or of a token behind it."""
        return self.tokens[self.position + ahead].kind

    def text(self) -> str:
        """Return the text of the next token; it is empty for a word and at the end."""
        token = self.tokens[self.position]
        return "" if token.kind is Kind.WORD else token.text

    def take(self) -> Token:
        """Return the next token and pass it. Raises UnreadError for a word and at the end."""
        token = self.tokens[self.position]
        if token.kind is Kind.END:
            raise UnreadError("incomplete")
        if token.kind is Kind.WORD:
            raise UnreadError("words in a formula")
        self.position += 1
        return token
