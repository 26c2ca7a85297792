"""The dialect of closed arithmetic in running text: numbers with units, no variables.

Every character gets a token. What is not known to be harmless becomes OTHER, and no expression is
read next to it: variables, unknown commands, `!`, `|`, `_`, `…`, number words.

What is not covered: variables, functions except exact square roots, number words, mixed numbers,
scientific notation.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from verifiers.math import lexer
from verifiers.math.lexer import Kind, Lexer, Token, rule, text_command, token_pattern
from verifiers.math.lexicon import (
    CONNECTIVES,
    FAMILIES,
    MATHEMATICAL,
    MULTIPLYING,
    PROSE,
    SHORT_UNITS,
    singular,
)
from verifiers.math.parser import Parser
from verifiers.math.syntax import Call, Number, Tree, UnreadError, is_power

# The length of the longest expression.
MAX_TOKENS = 256
MAX_UNIT_WORDS = 6
# A longer word in capitals is prose, a shorter one the name of points: `ABCD`.
MAX_POINT_NAME = 4
# The longest product of names: `abcd`.
MAX_NAMES = 4
BOXES = ("boxed", "fbox")


class _Lexer(Lexer):
    cleaning = (
        rule("\ue001", "[\ue001\ue002]", " "),
        rule("\ue002", "[\ue001\ue002]", " "),
        text_command("text|textbf|textit|textrm|mathrm|mathbf|mbox"),
        rule("\\", lexer.DEGREE_SIGN, "°"),
        rule("°", "°", " degrees "),
        lexer.BRACED_COMMA,
        lexer.DIGITS_AFTER_FRAC,
        lexer.THIN_SPACE_IN_NUMBER,
        rule("\\", r"(?<!\\)\\[,!;: ]|\\quad|\\qquad|~(?=[\\ ])|&", " "),
        rule("\\", lexer.SIZES + r")(?![A-Za-z])", ""),
        lexer.BACKTICK,
        # Bold text: two stars that are not a power.
        rule(
            "**", r"(?<![\d)\s])\*\*|\*\*(?![\d(\s])|(?<=\s)\*\*(?=\S)|(?<=\S)\*\*(?=\s)|^\*\*", " "
        ),
        rule("__", "__", " "),
        # Bullets and numbers of lists; `(2)` at the start of a line may begin a sum.
        rule("", r"^[ \t]*(?:[-*•–][ \t]+|#+ |(?:\d{1,3}|[a-zA-Z])[.)][ \t]+)", "•"),
        rule("(", r"^[ \t]*\((?:\d{1,3}|[a-zA-Z])\)[ \t]+(?![-+*/^=×÷·−–\\])", "•"),
        lexer.STEP_NUMBER,
        rule("otal of", r"\b[Tt]otal of\b", "total"),
        rule("percent", r"\bpercent\b", "%"),
        rule("of", r"(?<=%) of (?=\\?[$€£]? ?\(?\d)|(?<=\d/\d) of (?=\\?[$€£]?\(?\d)", " * "),
        rule("times", r"(?<=\d )times(?= [\d$(])", lexer.WORD_TIMES),
        rule("multiplied by", r"(?<=\d )multiplied by(?= [\d$(])", lexer.WORD_TIMES),
        rule("plus", r"(?<=\d )plus(?= [\d$(])", "+"),
        rule("minus", r"(?<=\d )minus(?= [\d$(])", "-"),
        rule("divided by", r"(?<=\d )divided by(?= [\d$(])", "/"),
        rule("x", f"{lexer.GLUED_X}|{lexer.SPACED_X}", lexer.LETTER_TIMES),
        rule("X", f"{lexer.GLUED_X}|{lexer.SPACED_X}", lexer.LETTER_TIMES),
    )
    pattern = token_pattern(
        # The letter a at the end of a phrase is a variable and not an article.
        LETTER=r"(?<![^\W\d_]) [aA] (?!\w|\ [^\W\d_])",
        # Words come first because most tokens are words.
        # A hyphen joins words, and not the letters of a formula: `5x-y`.
        WORD=(
            r"(?![²³]) (?: (?<!\d) (?:[^\W\d_]{2,}|[A-Z]) (?:-[^\W\d_]{2,})+"
            r" | [^\W\d_]+ (?:['’][^\W\d_]+)* )"
        ),
        NUMBER=lexer.NUMBER,
        # `0.\overline{5}` has more digits, and `12 : 18` is a ratio, as `3/-` is an amount.
        RATIO=r"""(?<=\d) [:,'"] (?=\d) | (?<=\d)\ :\ (?=\W?[\d(\\]) | \.\.+ | …
            | (?<=\d)\ ?\.\ ?(?=\\(?:overline|dot|bar|overset)|\(\d) | /-(?!\d)""",
        # Relations that are not equality end an expression, as arrows do.
        ARROW=(
            r"(?<!=)=+> | <=+ | >= | := | != | /= | <-+ | -+> | -{2,} | [<>≤≥≠→⇒≡]"
            r"| \\(?:neq?|leq?|geq?|lt|gt|equiv|to|Rightarrow|rightarrow|implies|iff|Leftrightarrow"
            r"|therefore|because|Longrightarrow|longrightarrow|newline)(?![A-Za-z])"
        ),
        RELATION=r"==? | [≈≃≅∼] | \\(?:approx|simeq|cong)(?![A-Za-z])",
        COMMAND=r"\\(?:[dt]?frac|boxed|fbox)(?![A-Za-z]) | \\sqrt(?![A-Za-z\[]) | √",
        OPERATOR=lexer.OPERATOR,
        OPEN=lexer.OPEN,
        CLOSE=lexer.CLOSE,
        PERCENT=r"\\?%",
        CURRENCY=r"\\\$ | [€£¢] | \$ (?=[-−]?\.?\d)",
        DELIMITER=r"\\[()\[\]] | \$+",
        ROW=lexer.ROW,
        QUESTION=r"\?",
        STOP=lexer.STOP,
        OTHER=lexer.OTHER,
    )
    spellings = lexer.OPERATORS | dict.fromkeys(("÷", "\\div"), lexer.OBELUS)
    groups = lexer.KINDS | dict.fromkeys(("RATIO", "LETTER", "QUESTION"), Kind.OTHER)

    def add(self, tokens: list[Token], group: str, text: str, glued: bool, math: bool) -> None:
        if group == "WORD":
            follows_number = glued and tokens and tokens[-1].kind in (Kind.NUMBER, Kind.CLOSE)
            is_prose = _is_prose(text, glued) and not (follows_number and _may_be_names(text))
            kind = Kind.WORD if is_prose else Kind.OTHER
            tokens.append(Token(kind, text, glued))
        else:
            super().add(tokens, group, text, glued, math)


def _is_prose(word: str, glued: bool) -> bool:
    """Return whether a word is prose or a unit, and not a variable, a point or a number word."""
    lower = word.lower()
    if lower in MATHEMATICAL or (word.isupper() and 1 < len(word) <= MAX_POINT_NAME):
        return False
    # `i` is the imaginary unit, in `2 i × 2 i`.
    if word == "i" or lower in MULTIPLYING or _are_neighbours(lower):
        return False
    if len(lower) <= 2:
        return lower in SHORT_UNITS and not (glued and len(lower) == 1)
    return True


def _may_be_names(word: str) -> bool:
    """Return whether letters behind a number may be a product of names, as in `2abc`."""
    lower = word.lower()
    is_unit = lower in SHORT_UNITS or singular(lower) in FAMILIES
    return word.isascii() and len(word) <= MAX_NAMES and not is_unit


def _are_neighbours(word: str) -> bool:
    """Return whether a short word is a product of names that follow in the alphabet: `mnp`."""
    if not (2 < len(word) <= MAX_NAMES and word.isascii()):
        return False
    return all(0 < ord(after) - ord(before) <= 2 for before, after in pairwise(word))


class _Parser(Parser):
    functions = frozenset(BOXES)
    max_depth = 32
    max_digits = 60
    accepts_prefix = True

    def multiplies(self) -> bool:
        return self.kind() is Kind.OPEN and self.text() == "(" and self.tokens[self.position].glued

    def negated(self, depth: int) -> Tree:
        tree = self.factor(depth + 1)
        # `-2^2` is -4 in mathematics and 4 on many calculators.
        if is_power(tree):
            raise UnreadError("a negated power")
        return tree

    def function(self, function: str, depth: int) -> Tree:
        # The box around a final answer.
        return self.argument(depth)

    def root(self, depth: int) -> Tree:
        return Call("root", (self.argument(depth),))

    def number(self) -> Number:
        has_currency = self.kind() is Kind.CURRENCY
        if has_currency:
            self.position += 1
        number = super().number()
        is_percentage = self.kind() is Kind.PERCENT
        if is_percentage:
            self.position += 1
        unit: tuple[str, ...] = ("dollar",) if has_currency else ()
        # A glued bracket multiplies, and is no remark.
        if not self.multiplies():
            unit += self._unit()
        return replace(number, percent=is_percentage, unit=unit)

    def measured(self, tree: Tree) -> Tree:
        self._unit()
        return tree

    def _unit(self) -> tuple[str, ...]:
        """Pass a unit such as `apples`, `miles per hour`, `/day` or `cm^2`; return its words."""
        start = self.position
        words = list[str]()
        while True:
            word = self.tokens[self.position].text
            is_word = self.kind() is Kind.WORD and word.lower() not in CONNECTIVES
            if not is_word and not (word == "/" and self.kind(1) is Kind.WORD):
                break
            words.append(word)
            self.position += 1
        if len(words) > MAX_UNIT_WORDS:
            self.position = start
            return ()
        # Square and cubic units; any other exponent belongs to an expression.
        exponent = self.tokens[self.position + 1]
        if words and self.at(Kind.OPERATOR, "^") and exponent.text in ("2", "3"):
            self.position += 2
        self._pass_remark()
        # `5 ft + 8 in = 68 in`, but `68 in total`.
        if words == ["in"]:
            return ("inch",)
        unit = [singular(word) for word in words if word != "/" and word.lower() not in PROSE]
        return tuple(unit)

    def _pass_remark(self) -> None:
        """Pass a remark in brackets, such as `(pencils)`; a glued bracket may be a factor."""
        if not self.at(Kind.OPEN, "(") or self.tokens[self.position].glued:
            return
        end = self.position + 1
        while True:
            word = self.tokens[end]
            # Letters in capitals are points, as in `1/2 (PQ)`.
            if len(word.text) < 2 or not word.text.isalpha() or word.text.isupper():
                break
            end += 1
        has_words = end > self.position + 1
        if has_words and self.tokens[end].kind is Kind.CLOSE:
            self.position = end + 1


tokens = _Lexer().tokens


def parse(tokens: Sequence[Token]) -> tuple[Tree, int] | None:
    """Return the longest expression at the start of the tokens and its length in tokens.

    The result is None if the tokens do not start with an expression or if it is too long.
    """
    parser = _Parser(tokens[: MAX_TOKENS + 1])
    try:
        tree = parser.expression(0)
    except UnreadError:
        return None
    return (tree, parser.position) if parser.position <= MAX_TOKENS else None
