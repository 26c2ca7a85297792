r"""The dialect of final answers: one formula, plain or LaTeX, read in full or not at all.

Unknown text raises UnreadError: macros, primes, dots, integrals, other alphabets. Tokens have one
spelling each, in LaTeX: `\dfrac`, `½`, `$…$` and `\left(` are replaced. A sum or a product of a few
hundred terms is the sum of its terms.

What is not covered: functions that are not listed in the lexicon, infinite sums, integrals, limits,
floors, indices except those of names (`x_1`), number bases.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from verifiers.math import lexer, syntax
from verifiers.math.exact import exact_value
from verifiers.math.lexer import Kind, Lexer, Token, rule, token_pattern
from verifiers.math.lexicon import FUNCTIONS, GREEK, NOT_PRODUCTS, PRODUCTS
from verifiers.math.parser import MULTIPLICATION, Parser
from verifiers.math.syntax import (
    PI,
    Call,
    Combined,
    E,
    I,
    Mixed,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
)

MAX_TOKENS = 400
# The most terms of a sum, and the most parts of the terms of all sums together. Terms that are not
# rational are evaluated in intervals, with a precision that grows with their number.
MAX_TERMS = 300
MAX_PARTS = 3_000
MAX_IRRATIONAL_PARTS = 60
RATIONAL_FUNCTIONS = frozenset(["!", "binom"])
SERIES = {"\\sum": "+", "\\prod": "*"}
# The tokens of the fraction in a mixed number, up to 23 digits each.
PART = re.compile(
    r"\\frac \{ (?P<numerator>\d{1,23}) \} \{ (?P<denominator>\d{1,23}) \} "
    r"|(?P<upper>\d{1,23}) / (?P<lower>\d{1,23}) "
)
# Letters that are functions if a bracket follows, and unknown ones.
APPLIED = frozenset("fghFGHPQ")
# Two of these letters are a product.
FACTORS = frozenset("abckmnpqrstuvwxyz")
MATH_FONTS = "text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|operatorname"

UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ",
        "√": "\\sqrt ", "π": "\\pi ", "θ": "\\theta ", "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ",
        "≠": "\\ne ", "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ", "∓": "\\mp ",
        "²": "^2 ", "³": "^3 ",
        "½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅓": "\\frac{1}{3}",
        "⅔": "\\frac{2}{3}",
    }
)  # fmt: skip
# The commands that are understood besides functions and Greek letters.
COMMAND_KINDS = {
    **dict.fromkeys(("frac", "sqrt", "pi", "infty", "binom", "sum", "prod"), Kind.COMMAND),
    **dict.fromkeys(("begin", "end", "{", "}", "$"), Kind.COMMAND),
    **dict.fromkeys(("times", "cdot", "div", "pm", "mp", "cup"), Kind.OPERATOR),
    **dict.fromkeys(("le", "ge", "ne", "in", "<", ">"), Kind.RELATION),
    **dict.fromkeys(("and", "or"), Kind.WORD),
    "circ": Kind.DEGREES,
    "%": Kind.PERCENT,
    "\\": Kind.ROW,
    "|": Kind.BAR,
    "i": Kind.NAME,
}
# Commands whose token is the name itself.
PLAIN_COMMANDS = ("<", ">", "and", "or", "|", "i")
# Commands by their other spellings.
SYNONYMS = {
    "neq": "ne", "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "lt": "<", "gt": ">",
    "land": "and", "lor": "or", "imath": "i", "dfrac": "frac", "tfrac": "frac", "cfrac": "frac",
    "tbinom": "binom", "dbinom": "binom", "ast": "cdot", "lbrace": "{", "rbrace": "}",
    "lvert": "|", "rvert": "|", "vert": "|",
}  # fmt: skip
# The commands, besides functions, that multiply without a sign what is before them.
FACTOR_COMMANDS = frozenset(["\\frac", "\\sqrt", "\\pi", "\\binom", *SERIES])
# Greek letters without a backslash. `psi` is a unit, and shorter names are products or words.
GREEK_WORDS = frozenset([name for name in GREEK if len(name) > 2]) - {"psi", "Psi"}
WORD_COMMANDS = {"pi": "\\pi", "sqrt": "\\sqrt"}
WORD_COMMANDS |= dict.fromkeys(("infinity", "inf", "oo", "infty"), "\\infty")


class _Lexer(Lexer):
    cleaning = (
        # Text that is no plain words is read as mathematics; plain words stay together.
        rule(
            "\\",
            rf"\\(?:{MATH_FONTS})\s*"
            r"\{([^{}\\]*[^{}\\A-Za-z .'-][^{}\\]*|\s*[A-Za-z]?\s*)\}",
            r" \1 ",
        ),
        rule("\\", rf"\\(?:{MATH_FONTS})\s*\{{", r"\\text{"),
        rule("", lexer.DEGREE_SIGN + "|°", r"\\circ "),
        lexer.THIN_SPACE_IN_NUMBER,
        rule("\\", r"(?<!\\)\\[()\[\]]", " "),
        lexer.BRACED_COMMA,
        rule("\\", lexer.SIZES + r"|textstyle)(?![A-Za-z])", " "),
        rule("", r"(?<!\\)\\[,!;: ]|\\q?quad(?![A-Za-z])|~", " "),
        rule("frac", r"(?<=frac) *(\d)(\d)", r"{\1}{\2}"),
    )
    pattern = token_pattern(
        # Unlike in running text, a comma before a space does not end a number.
        NUMBER=r"[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])(?:\.[0-9]+)? | [0-9]+(?:\.[0-9]+)? | \.[0-9]+",
        TEXT=r"\\text\{[^{}]*\}",
        COMMAND=r"\\(?:[A-Za-z]+|[{}%$|\\])",
        WORD=r"[A-Za-z]+",
        OPERATOR=r"[-+*/^_!]",
        RELATION=r"[=<>]",
        OPEN=lexer.OPEN,
        CLOSE=lexer.CLOSE,
        BAR=r"\|",
        PERCENT="%",
        STOP=r"[,;:]",
        DELIMITER=r"[&$]",
        OTHER=r"\S",
    )
    groups = lexer.KINDS | {"TEXT": Kind.WORD}

    def tokens(self, text: str) -> Sequence[Token]:
        tokens = super().tokens(text)
        if len(tokens) > MAX_TOKENS:
            raise UnreadError("too long")
        return tokens

    def clean(self, text: str) -> str:
        text = super().clean(text.translate(UNICODE))
        # One dollar is a currency, two or more delimit mathematics.
        if text.count("$") - text.count(r"\$") > 1:
            text = re.sub(r"(?<!\\)\$", " ", text)
        return text

    def add(self, tokens: list[Token], group: str, text: str, glued: bool, math: bool) -> None:
        if group == "OTHER":
            raise UnreadError("a sign that is not understood")
        if group == "TEXT":
            words = text.removeprefix("\\text{").removesuffix("}").strip(" .")
            tokens.append(Token(Kind.WORD, words, glued))
        elif group == "COMMAND":
            tokens.append(_command(text[1:], glued))
        elif group == "WORD":
            _add_word(tokens, text, glued)
        else:
            super().add(tokens, group, text, glued, math)


def _command(name: str, glued: bool) -> Token:
    name = SYNONYMS.get(name, name)
    if name in FUNCTIONS:
        return Token(Kind.COMMAND, "\\" + name, glued)
    if name in GREEK:
        return Token(Kind.NAME, "\\" + name, glued)
    if name not in COMMAND_KINDS:
        raise UnreadError(f"\\{name[:20]} is not understood")
    text = name if name in PLAIN_COMMANDS else "\\" + name
    return Token(COMMAND_KINDS[name], text, glued)


def _add_word(tokens: list[Token], word: str, glued: bool) -> None:
    """Append a word as a function, a constant, a product of names, or as a word."""
    is_product = len(word) == 1 or FACTORS.issuperset(word)
    if word in FUNCTIONS:
        tokens.append(Token(Kind.COMMAND, "\\" + word, glued))
    elif word in GREEK_WORDS:
        tokens.append(Token(Kind.NAME, "\\" + word, glued))
    elif word in WORD_COMMANDS:
        tokens.append(Token(Kind.COMMAND, WORD_COMMANDS[word], glued))
    elif word in PRODUCTS or (len(word) < 3 and word not in NOT_PRODUCTS and is_product):
        for index, letter in enumerate(word):
            tokens.append(Token(Kind.NAME, letter, glued or index > 0))
    else:
        tokens.append(Token(Kind.WORD, word, glued))


class _Parser(Parser):
    max_digits = 200
    max_bare_digits = 1
    functions = FUNCTIONS

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.parts_of_sums = 0
        # The LaTeX of the tokens.
        self.texts = [token.text.replace(",", "") for token in tokens]

    def leading_term(self, depth: int) -> Tree:
        if not self.at(Kind.OPERATOR, "+-"):
            return self.term(depth)
        sign = self.take().text
        term = self.term(depth)
        return Negated(term) if sign == "-" else term

    def multiplies(self) -> bool:
        match self.kind():
            case Kind.NAME:
                return True
            case Kind.OPEN:
                return self.text() != "["
            case Kind.BAR:
                return self.open_bars == 0
            case Kind.COMMAND:
                text = self.text()
                return text[1:] in FUNCTIONS or text in FACTOR_COMMANDS
            case _:
                return False

    def negated(self, depth: int) -> Tree:
        if self.at(Kind.OPERATOR, "-"):
            raise UnreadError("two signs")
        return self.power(depth)

    def postfix(self, depth: int) -> Tree:
        if self.kind() is Kind.OPEN:
            return super().postfix(depth)
        tree = super().postfix(depth)
        # In `2 1/2^3` and `\\sin x^2`, the exponent may belong to a part only.
        is_call = isinstance(tree, Call) and tree.function not in ("!", "root", "binom")
        if self.at(Kind.OPERATOR, "^") and (is_call or isinstance(tree, Mixed)):
            raise UnreadError("a power without brackets")
        return tree

    def argument(self, depth: int, max_digits: int | None = None) -> Tree:
        start = self.position
        kind = self.kind()
        if kind is Kind.COMMAND and self.text() in ("\\pi", "\\frac"):
            tree = self.operand(depth + 1)
        elif kind in (Kind.OPEN, Kind.NAME, Kind.NUMBER):
            tree = super().argument(depth, max_digits)
        else:
            raise UnreadError("no argument")
        # Exponents, which have no bound on their digits, keep their brackets.
        if max_digits is not None and kind is Kind.OPEN:
            self.texts[start] = "{"
            self.texts[self.position - 1] = "}"
        elif max_digits is not None:
            self.texts[start] = "{" + self.texts[start]
            self.texts[self.position - 1] += "}"
        return tree

    def command(self, depth: int) -> Tree:
        if self.text() == "\\pi":
            self.take()
            return PI
        if self.text() in SERIES:
            return self._series(SERIES[self.take().text], depth)
        return super().command(depth)

    def _series(self, operator: str, depth: int) -> Tree:
        r"""Read what follows `\sum` or `\prod` with whole bounds, as all its terms."""
        self._expect("_{")
        index = self.take()
        self._expect("=")
        first = _whole(self.expression(depth + 1))
        self._expect("}^")
        last = _whole(self.argument(depth, self.max_bare_digits))
        if operator == "+":
            body = self.term(depth + 1)
        else:
            body = self.power(depth + 1)
        follows_factor = operator == "*" and (self.multiplies() or self.text() in MULTIPLICATION)
        if self.at(Kind.OPERATOR, "+-") or follows_factor:
            raise UnreadError("the end of a sum is ambiguous")
        terms = last - first + 1
        if index.kind is not Kind.NAME or not 0 < terms <= MAX_TERMS:
            raise UnreadError("a sum without a few terms")
        self.parts_of_sums += sum(1 for _ in syntax.walk(body)) * terms
        limit = MAX_PARTS if _is_rational(body, index.text) else MAX_IRRATIONAL_PARTS
        if self.parts_of_sums > limit:
            raise UnreadError("a sum that is too long")
        if any(_has_index(part, index.text) for part in syntax.walk(body)):
            raise UnreadError("a sum of unknown terms")
        values = [Number(Fraction(value)) for value in range(first, last + 1)]
        return _balanced(operator, [_substituted(body, index.text, value) for value in values])

    def _expect(self, texts: str) -> None:
        """Pass tokens of one character each."""
        for text in texts:
            if self.take().text != text:
                raise UnreadError("a sum that is not understood")

    def degree(self, depth: int) -> Tree:
        degree = self.bracket(depth)
        if not isinstance(degree, Number) or degree.value.denominator != 1:
            raise UnreadError("an unusual degree of a root")
        if not 2 <= degree.value <= self.max_depth:
            raise UnreadError("an unusual degree of a root")
        return degree

    def absolute_value(self, depth: int) -> Tree:
        # In `|a|b|c|`, the second bar may close or open.
        if self.open_bars > 0:
            raise UnreadError("not an expression")
        return super().absolute_value(depth)

    def operand(self, depth: int) -> Tree:
        return self._mixed() or super().operand(depth)

    def number(self) -> Number:
        digits = self.text().replace(",", "")
        number = super().number()
        if self.at(Kind.OPERATOR, "_"):
            raise UnreadError("a number base")
        if digits.startswith("0") and digits[1:2].isdigit():
            raise UnreadError("leading zeros")
        return number

    def _mixed(self) -> Mixed | None:
        r"""Read `2\frac{1}{2}` or `2 1/2` if the fraction is proper, else nothing."""
        if self.kind() is not Kind.NUMBER:
            return None
        after = self.tokens[self.position + 1 : self.position + 8]
        # Every token ends with a space, so that digits of two tokens stay apart.
        match = PART.match("".join([token.text + " " for token in after]))
        if match is None or (match["upper"] and after[0].glued) or "." in self.text():
            return None
        numerator = int(match["upper"] or match["numerator"])
        denominator = int(match["lower"] or match["denominator"])
        if not 0 < numerator < denominator:
            return None
        mixed = Mixed(self.number(), Fraction(numerator, denominator))
        self.position += match[0].count(" ")
        return mixed

    def simple_name(self) -> Tree:
        text = self.take().text
        if self.at(Kind.OPERATOR, "_"):
            self.take()
            return Name(f"{text}_{self._index()}")
        if text in APPLIED and self.text() == "(":
            raise UnreadError("an unknown function")
        return syntax.Constant(text) if text in (E.text, I.text) else Name(text)

    def _index(self) -> str:
        if self.text() != "{":
            return self.take().text
        start = end = self.position + 1
        while self.tokens[end].text != "}":
            if self.tokens[end].kind is Kind.END:
                raise UnreadError("an index without end")
            end += 1
        self.position = end + 1
        return "".join([token.text for token in self.tokens[start:end]])

    def function_exponent(self, function: str, depth: int) -> Tree:
        exponent = self.argument(depth, self.max_bare_digits)
        # `\sin^{-1}` is the inverse function.
        if not isinstance(exponent, Number) or exponent.value < 2:
            raise UnreadError("a function to a power")
        return exponent

    def function_argument(self, depth: int) -> Tree:
        """Read a group, or all numbers, names and fractions that follow."""
        if self.text() in ("(", "{", "|", "\\sqrt"):
            tree = self.operand(depth + 1)
        else:
            tree = self._product(depth + 1)
        if self.kind() is Kind.DEGREES:
            self.take()
            tree = Call("degrees", (tree,))
        if self.at(Kind.OPERATOR, "^!"):
            raise UnreadError("a power without brackets")
        return tree

    def _product(self, depth: int) -> Tree:
        tree = self.power(depth) if self.kind() is Kind.NUMBER else None
        while self.kind() is Kind.NAME or self.text() in ("\\pi", "\\frac"):
            factor = self.power(depth)
            tree = factor if tree is None else syntax.Combined("*", tree, factor)
        if tree is None or self.text() in ("(", "/", "\\div", "|"):
            raise UnreadError("the end of a function's argument is ambiguous")
        return tree


def _whole(tree: Tree) -> int:
    value = exact_value(tree)
    if value is None or value.denominator != 1:
        raise UnreadError("a sum without whole bounds")
    return int(value)


def _is_rational(tree: Tree, index: str) -> bool:
    """Return whether all values are rational if those of the names are; the index may be `i`."""
    if not syntax.functions(tree) <= RATIONAL_FUNCTIONS:
        return False
    for part in syntax.walk(tree):
        if isinstance(part, syntax.Constant) and part.text != index:
            return False
        if syntax.is_power(part) and not _is_whole(part.right):
            return False
    return True


def _is_whole(exponent: Tree) -> bool:
    """Return whether an exponent is whole if the values of its names are."""
    for part in syntax.walk(exponent):
        if isinstance(part, Mixed) or (isinstance(part, Combined) and part.operator in "/^"):
            return False
        if isinstance(part, Number) and part.value.denominator != 1:
            return False
    return True


def _has_index(tree: Tree, name: str) -> bool:
    """Return whether a tree is a name with the index of a sum, such as `a_k`."""
    return isinstance(tree, Name) and name in tree.text.partition("_")[2]


def _substituted(tree: Tree, name: str, value: Number) -> Tree:
    """Return the tree with the value of a name in its place; the name may be `i` or `e`."""
    match tree:
        case Name(text, argument=None) if text == name:
            # A negative number needs a sign of its own.
            return value if value.value >= 0 else Negated(Number(-value.value))
        case Negated(operand):
            return Negated(_substituted(operand, name, value))
        case Combined(operator, left, right):
            left = _substituted(left, name, value)
            return Combined(operator, left, _substituted(right, name, value))
        case Call(function, arguments):
            substituted = [_substituted(argument, name, value) for argument in arguments]
            return Call(function, tuple(substituted))
        case _:
            return tree


def _balanced(operator: str, terms: Sequence[Tree]) -> Tree:
    """Return all terms combined, in a tree of small depth."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    left = _balanced(operator, terms[:middle])
    return Combined(operator, left, _balanced(operator, terms[middle:]))


tokens = _Lexer().tokens


def parse(tokens: Sequence[Token]) -> tuple[Tree, str]:
    """Return the tree of all tokens and the tokens as plain LaTeX. Raises UnreadError.

    The LaTeX has spaces only between letters, and braces around the arguments of commands.
    """
    parser = _Parser(tokens)
    tree = parser.parse_all()
    latex = ""
    for text in parser.texts:
        if latex[-1:].isalpha() and text[:1].isalpha():
            latex += " "
        latex += text
    return tree, latex
