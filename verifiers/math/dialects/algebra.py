r"""The dialect of formulas with variables in running text.

Every character gets a token; what is not known becomes OTHER, and no formula is read next to it. A
single letter is a name inside mathematics (`$…$`), and in running text if an operator, a relation
or a digit touches it. A name is one letter with its index, several capitals (a segment `AB`), or
an unknown function `f(…)`.

What is not covered: vectors, matrices, sets, derivatives, integrals, infinite sums, limits,
remainders, floors, inverse functions written as powers.
"""

import re
from collections.abc import Sequence

from verifiers.math import lexer, series, syntax
from verifiers.math.lexer import Kind, Lexer, Token, rule, text_command, token_pattern
from verifiers.math.parser import MULTIPLICATION, Parser
from verifiers.math.syntax import (
    PI,
    TRIGONOMETRIC,
    Call,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
)

# The length of the longest formula.
MAX_TOKENS = 256
# The length of the longest index of a name, in tokens.
MAX_INDEX = 12
# Up to so many capitals are one name, such as the triangle `ABC`.
MAX_POINT_NAME = 3
# Up to so many letters without space are a product of names.
MAX_PRODUCT = 4
# Letters that a bracket always applies; other letters are applied or multiplied.
CALLED = frozenset("fg")
# Letters that are known to be multiplied by a bracket.
MULTIPLIED = frozenset("abcdeijklmnoxyz")
DIFFERENTIALS = frozenset(["x", "y", "t", "u", "r", "s", "\\theta"])
TOUCHING = (Kind.OPERATOR, Kind.RELATION)

DISPLAY = r"\{(?:align|aligned|equation|gather|gathered|split|multline|eqnarray)\*?\}"
LIST_ITEM = (
    r"^[ \t]*(?:[-*•–][ \t]+|#+ |(?:\d{1,3}|[a-zA-Z])[.)][ \t]+|\((?:\d{1,3}|[a-zA-Z])\)[ \t]+)"
)
NO_FUNCTION = r"(?! \\(?:sin|cos|tan|cot|sec|csc|ln|log)(?![A-Za-z]))"
MATRIX = re.compile(r"\\begin\{[^{}]{1,20}\}.{0,2000}?\\end\{[^{}]{1,20}\}", re.DOTALL)
RELATIONS = {
    **dict.fromkeys(("\\leq", "\\le", "<=", "\\leqslant"), "≤"),
    **dict.fromkeys(("\\geq", "\\ge", ">=", "\\geqslant"), "≥"),
    **dict.fromkeys(("\\ne", "\\neq", "!="), "≠"),
    **dict.fromkeys(("\\approx", "\\simeq", "≃", "∼"), "≈"),
    "\\lt": "<",
    "\\gt": ">",
    "\\cong": "≅",
}
DOTS = "…"
DOTS_SPELLINGS = dict.fromkeys(
    ("\\cdots", "\\ldots", "\\dots", "\\dotsb", "\\dotsc", "\\dotsm", "...", "⋯"), DOTS
)
SERIES = {"\\sum": series.SUM, "\\prod": series.PRODUCT}
GREEK = {"π": "pi", "θ": "theta", "α": "alpha", "β": "beta", "ω": "omega", "λ": "lambda"}
SYMBOLS = {letter: f"\\{GREEK[letter]}" for letter in GREEK}


class _Lexer(Lexer):
    cleaning = (
        rule("\ue001", "[\ue001\ue002]", " "),
        rule("\ue002", "[\ue001\ue002]", " "),
        rule("[asy]", r"\[asy\](?s:.{0,5000}?)\[/asy\]", " "),
        rule("<<", r"<<[^<>\n]{0,200}>>", ""),
        rule("\\begin", r"\\begin" + DISPLAY, r"\\["),
        rule("\\end", r"\\end" + DISPLAY, r"\\]"),
        text_command("text|textbf|textit|textrm|mathrm|mbox"),
        # In `sin x cos x`, the letter is a name.
        rule("x", lexer.SPACED_X.replace("[xX]", "x") + NO_FUNCTION, lexer.LETTER_TIMES),
        rule("\\", lexer.DEGREE_SIGN, "°"),
        lexer.BRACED_COMMA,
        lexer.DIGITS_AFTER_FRAC,
        lexer.THIN_SPACE_IN_NUMBER,
        rule("\\", r"(?<!\\)\\[,!;: ]|~|&", " "),
        rule("&", "&", " "),
        rule("\\", lexer.SIZES + r")(?![A-Za-z])\.?", ""),
        rule("\\", r"\\(?:boxed|fbox)(?=\s*\{)", ""),
        lexer.BACKTICK,
        # Bold text: two stars that are not a power.
        rule(
            "**",
            r"(?<![\d)\s\w])\*\*|\*\*(?![\d(\s\w])|(?<=\s)\*\*(?=\S)|(?<=\S)\*\*(?=\s)|^\*\*",
            " ",
        ),
        rule("", LIST_ITEM, "•"),
        rule(
            "et ",
            r"\b([Ll]et \$?(?:\\\()?[A-Za-z](?:\$|\\\))?) (?:be|equal) (?=\$?(?:\\\()?-?\d)",
            r"\1 = ",
        ),
        lexer.STEP_NUMBER,
        rule("ase", r"\b[Cc]ase ?\d+\b", "Case •"),
    )
    pattern = token_pattern(
        COMMAND=(
            r"\\(?:[dt]?frac|sqrt|[dt]?binom|sin|cos|tan|cot|sec|csc|ln|log|exp|sum|prod)"
            r"(?![A-Za-z]) | √"
            r"| (?<![A-Za-z\\])(?:sqrt|sin|cos|tan|ln|log)(?=[ (_^])"
        ),
        SYMBOL=(
            r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|omega|phi|varphi|rho|sigma|tau|epsilon"
            r"|pi|Delta)(?![A-Za-z]) | [α-ωπ]"
        ),
        # Words come early because most tokens are words.
        WORD=r"[^\W\d_²³]+ (?:['’][^\W\d_²³]+)*",
        DOTS=r"\\(?:[cl]dots|dots[bcm]?)(?![A-Za-z]) | \.\.\.+ | … | ⋯",
        NUMBER=lexer.NUMBER,
        RATIO=r"""(?<=\d) [:'"] (?=\d) | (?<=\d)\ :\ (?=\W?[\d(\\]) | \.\.+ | …
            | (?<=\d)\ ?\.\ ?(?=\\(?:overline|dot|bar|overset)|\(\d)""",
        ARROW=(
            r"=+> | -+> | <-+ | [→⇒⟹⇔] | \\(?:to|Rightarrow|rightarrow|implies|iff|Leftrightarrow"
            r"|Longrightarrow|longrightarrow)(?![A-Za-z])"
        ),
        RELATION=(
            r"<= | >= | (?<=\s)!= | [=<>≤≥≠≈≃≅∼]"
            r"| \\(?:neq?|leq?|geq?|leqslant|geqslant|lt|gt|approx|simeq|cong)(?![A-Za-z])"
        ),
        OPERATOR=lexer.OPERATOR + " | [_!]",
        SET=r"\\[{}]",
        OPEN=lexer.OPEN,
        CLOSE=lexer.CLOSE,
        BAR=r"\| | \\vert(?![A-Za-z])",
        DEGREES="°",
        # A dollar before a number is a currency if no second dollar follows in the line.
        CURRENCY=r"\\\$ | \$ (?=\d) (?=[^$\n]{0,12}(?:\s|$|[.,;)])) (?![^$\n]*\$)",
        DELIMITER=r"\\[()\[\]] | \$+",
        ROW=lexer.ROW + r" | \\newline(?![A-Za-z])",
        STOP=lexer.STOP + r" | \\q?quad(?![A-Za-z])",
        OTHER=lexer.OTHER,
    )
    spellings = lexer.OPERATORS | lexer.COMMANDS | RELATIONS | SYMBOLS | DOTS_SPELLINGS
    groups = lexer.KINDS | {
        "RATIO": Kind.OTHER,
        "SET": Kind.OTHER,
        "SYMBOL": Kind.NAME,
        "DOTS": Kind.COMMAND,
    }

    def tokens(self, text: str) -> Sequence[Token]:
        tokens = list[Token]()
        end = 0
        in_math = False
        group_before = ""
        for match in self.pattern.finditer(self.clean(text)):
            group = str(match.lastgroup)
            word = match[0]
            glued = match.start() == end > 0
            end = match.end()
            if group == "DELIMITER":
                in_math = not in_math if word.startswith("$") else word in ("\\(", "\\[")
            if word == "\n" and in_math:
                # A line end inside a formula is a space.
                end = -1
            elif group == "WORD":
                touching = group_before if glued else ""
                _add_letters(tokens, word, glued, in_math, touching)
            elif group != "CURRENCY":
                self.add(tokens, group, word, glued, in_math)
            group_before = group
        return _with_ranges(_with_indices(tokens))

    def clean(self, text: str) -> str:
        text = super().clean(text)
        return MATRIX.sub(r" \\matrix ", text) if "\\begin" in text else text


def _add_letters(tokens: list[Token], word: str, glued: bool, in_math: bool, touching: str) -> None:
    """Append a word as names where its letters can be names.

    In mathematics every small letter is a name, and capitals together are one name. `touching` is
    the group of the match that touches the word from the left.
    """
    is_product = len(word) <= MAX_PRODUCT and word.isascii() and word.isalpha()
    is_name = len(word) == 1 or (in_math and word.isupper() and len(word) <= MAX_POINT_NAME)
    if is_name:
        tokens.append(Token(Kind.NAME, word, glued, in_math))
    elif in_math and is_product and (len(word) == 2 or glued or not word.islower()):
        for index, letter in enumerate(word):
            tokens.append(Token(Kind.NAME, letter, glued or index > 0, in_math))
    elif not in_math and touching in ("NUMBER", "CLOSE", "WORD"):
        tokens.append(Token(Kind.OTHER, word, glued, in_math))
    else:
        tokens.append(Token(Kind.WORD, word, glued, in_math))


def _with_indices(tokens: Sequence[Token]) -> Sequence[Token]:
    """Join names with their indices, and turn single letters of prose into words."""
    joined = list[Token]()
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if _is_glued_to_number(tokens, position):
            # `R12` is one name, and `x2` may be a power.
            joined.append(token._replace(kind=Kind.OTHER))
            continue
        if token.kind is not Kind.NAME:
            joined.append(token)
            continue
        start = position
        index, position = _index(tokens, start)
        if not index and not token.math and not _touches_mathematics(tokens, start - 1):
            joined.append(token._replace(kind=Kind.WORD))
        else:
            joined.append(token._replace(text=token.text + index))
    return joined


def _with_ranges(tokens: Sequence[Token]) -> Sequence[Token]:
    r"""Return the tokens with the equals sign of every range `_{k=1}` as an operator."""
    changed = list(tokens)
    for position in range(3, len(tokens)):
        texts = (tokens[position - 3].text, tokens[position - 2].text, tokens[position].text)
        if texts == ("_", "{", "="):
            changed[position] = tokens[position]._replace(kind=Kind.OPERATOR)
    return changed


def _is_glued_to_number(tokens: Sequence[Token], after: int) -> bool:
    """Return whether letters are followed by a number without space; `after` is its position."""
    if tokens[after - 1].kind not in (Kind.NAME, Kind.WORD) or after >= len(tokens):
        return False
    return tokens[after].kind is Kind.NUMBER and tokens[after].glued


def _index(tokens: Sequence[Token], position: int) -> tuple[str, int]:
    """Return the index and the primes of a name, and the position behind them."""
    text = ""
    if position + 1 < len(tokens) and tokens[position].text == "_":
        end = position + 2
        if tokens[position + 1].text == "{":
            last = min(len(tokens), position + MAX_INDEX)
            while end < last and tokens[end].kind is not Kind.CLOSE:
                end += 1
            end += 1
        text = "".join([token.text for token in tokens[position:end]])
        position = end
    while position < len(tokens) and tokens[position].text == "'" and tokens[position].glued:
        text += "'"
        position += 1
    return text, position


def _touches_mathematics(tokens: Sequence[Token], position: int) -> bool:
    """Return whether a letter in running text is a name."""
    if position > 0:
        before = tokens[position - 1]
        if before.kind in TOUCHING:
            return True
        glued = tokens[position].glued
        if glued and before.kind in (Kind.NUMBER, Kind.OPEN, Kind.CLOSE):
            return True
    if position + 1 >= len(tokens):
        return False
    after = tokens[position + 1]
    if after.kind in TOUCHING:
        return True
    return after.glued and after.kind in (Kind.OPEN, Kind.CLOSE, Kind.NAME)


class _Parser(Parser):
    functions = TRIGONOMETRIC | {"ln", "log", "exp"}

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.has_dots = any(token.text == DOTS for token in tokens)

    def expression(self, depth: int) -> Tree:
        if not self.has_dots:
            return super().expression(depth)
        self.check_depth(depth)
        operators = list[str]()
        terms = [self.leading_term(depth)]
        dots = 0
        while self.at(Kind.OPERATOR, "+-"):
            operators.append(self.take().text)
            if self.text() == DOTS:
                if dots:
                    raise UnreadError("dots twice")
                self.take()
                dots = len(terms)
            else:
                terms.append(self.term(depth))
        return _combined(series.SUM, terms, operators, dots)

    def term(self, depth: int) -> Tree:
        if not self.has_dots:
            return super().term(depth)
        operators = list[str]()
        factors = [self.factor(depth)]
        dots = 0
        while True:
            operator = MULTIPLICATION.get(self.text(), "")
            if self.text() == DOTS or (operator and self.tokens[self.position + 1].text == DOTS):
                if dots:
                    raise UnreadError("dots twice")
                dots = len(factors)
                self._pass_dots()
                factors.append(self.factor(depth))
            elif operator:
                self.take()
                operators.append(operator)
                factors.append(self.factor(depth))
            elif self.multiplies():
                if "/" in operators or dots:
                    raise UnreadError("a product after a division or dots")
                operators.append("*")
                factors.append(self.power(depth))
            else:
                return _combined(series.PRODUCT, factors, operators, dots)

    def _pass_dots(self) -> None:
        """Pass the dots of a product, and the signs around them."""
        has_sign = self.text() != DOTS
        if has_sign:
            self.take()
        self.take()
        if has_sign or self.text() in MULTIPLICATION:
            if MULTIPLICATION.get(self.text()) != "*":
                raise UnreadError("dots between other signs")
            self.take()

    def command(self, depth: int) -> Tree:
        if self.text() not in SERIES:
            return super().command(depth)
        self.check_depth(depth)
        function = SERIES[self.take().text]
        bounds = dict[str, Sequence[Tree]]()
        while self.at(Kind.OPERATOR, "_^") and len(bounds) < 2:
            sign = self.take().text
            bounds[sign] = self._range(depth) if sign == "_" else [self.argument(depth)]
        if len(bounds) < 2:
            raise UnreadError("a series without bounds")
        index, start = bounds["_"]
        term = self.term(depth + 1)
        # `\sum k + 1` may be `\sum (k + 1)`.
        if self.at(Kind.OPERATOR, "+-") and self.tokens[self.position + 1].text not in SERIES:
            raise UnreadError("the end of a series is ambiguous")
        if not isinstance(index, Name):
            raise UnreadError("no index")
        return series.series(function, index, (start, bounds["^"][0]), term)

    def _range(self, depth: int) -> Sequence[Tree]:
        """Read the index and the first value: `{k=1}`."""
        if self.take().text != "{" or self.kind() is not Kind.NAME:
            raise UnreadError("no index")
        index = self.simple_name()
        if self.take().text != "=":
            raise UnreadError("no index")
        start = self.expression(depth + 1)
        if self.take().text != "}":
            raise UnreadError("unbalanced")
        return (index, start)

    def multiplies(self) -> bool:
        token = self.tokens[self.position]
        if token.kind not in (Kind.NAME, Kind.OPEN, Kind.COMMAND, Kind.NUMBER):
            return False
        before = self.tokens[self.position - 1].kind
        if token.text == "{" and not token.math:
            raise UnreadError("braces in running text")
        if token.kind is Kind.NUMBER and before is not Kind.CLOSE:
            raise UnreadError("two numbers side by side")
        if not (token.glued or token.math):
            return False
        if before is Kind.NUMBER and token.text == "\\frac":
            raise UnreadError("a mixed number or a product")
        return True

    def negated(self, depth: int) -> Tree:
        # `-2^2` is -4 in mathematics and 4 on many calculators.
        if self.kind() is Kind.NUMBER and self.tokens[self.position + 1].text == "^":
            raise UnreadError("a negated power")
        return self.factor(depth + 1)

    def postfix(self, depth: int) -> Tree:
        return self._with_degrees(super().postfix(depth))

    def name(self, depth: int) -> Tree:
        token = self.tokens[self.position]
        tree = self.simple_name()
        after = self.tokens[self.position]
        if token.text == "d" and after.kind is Kind.NAME and after.text in DIFFERENTIALS:
            raise UnreadError("a differential")
        is_called = token.text[0] in CALLED
        if is_called and self.at(Kind.OPERATOR, "^"):
            raise UnreadError("a power of a function")
        if not self.at(Kind.OPEN, "([") or not after.glued:
            return tree
        if is_called:
            start = self.position
            argument = self.bracket(depth)
            called = [token, *self.tokens[start : self.position]]
            return Name("".join([part.text for part in called]), argument)
        if "'" not in token.text and (token.text[0] in MULTIPLIED or tree == PI):
            return tree
        raise UnreadError("a function or a product")

    def simple_name(self) -> Tree:
        text = self.take().text
        return PI if text == PI.text else Name(text)

    def function_exponent(self, function: str, depth: int) -> Tree:
        exponent = self.exponent(depth)
        # `\sin^{-1}` is the inverse function.
        if function not in TRIGONOMETRIC or isinstance(exponent, Negated):
            raise UnreadError("a function to a power")
        return exponent

    def function_argument(self, depth: int) -> Tree:
        """Read a bracket, or the product that follows the function directly."""
        if self.kind() is Kind.OPEN:
            tree = self.bracket(depth)
            if self.at(Kind.OPEN, "(") and self.tokens[self.position].glued:
                raise UnreadError("the end of a function's argument is ambiguous")
            return tree
        tree = self._simple_factor(depth)
        while self.kind() in (Kind.NAME, Kind.NUMBER):
            if self.kind() is Kind.NUMBER and isinstance(tree, Number):
                raise UnreadError("two numbers side by side")
            tree = syntax.Combined("*", tree, self._simple_factor(depth))
        is_function = self.text().removeprefix("\\") in self.functions
        # `\ln 2 * 3` may be `\ln 6`.
        is_product = isinstance(tree, Number) and self.text() == "*"
        if is_product and self.kind(1) is Kind.NUMBER:
            raise UnreadError("the end of a function's argument is ambiguous")
        if self.at(Kind.OPERATOR, "/^!") or self.kind() is Kind.OPEN:
            raise UnreadError("the end of a function's argument is ambiguous")
        if self.kind() is Kind.COMMAND and not is_function:
            raise UnreadError("the end of a function's argument is ambiguous")
        return tree

    def _simple_factor(self, depth: int) -> Tree:
        if self.text() in ("\\frac", "\\sqrt"):
            tree = self.command(depth)
        elif self.kind() is Kind.NAME:
            tree = self.simple_name()
        else:
            tree = self.number()
        return self._with_degrees(tree)

    def _with_degrees(self, tree: Tree) -> Tree:
        if self.kind() is not Kind.DEGREES:
            return tree
        self.take()
        return Call("degrees", (tree,))


def _combined(function: str, operands: Sequence[Tree], operators: Sequence[str], dots: int) -> Tree:
    """Return the sum or product of operands, with dots behind the first `dots` of them, if any."""
    if dots:
        if not set(operators) <= {"+" if function == series.SUM else "*"}:
            raise UnreadError("dots between other signs")
        return series.continued_series(function, operands[:dots], operands[dots:])
    tree = operands[0]
    for operator, operand in zip(operators, operands[1:], strict=True):
        tree = syntax.Combined(operator, tree, operand)
    return tree


tokens = _Lexer().tokens


def parse(tokens: Sequence[Token]) -> Tree | None:
    """Return the tree of all tokens, or None if they are not a formula."""
    if not 0 < len(tokens) <= MAX_TOKENS:
        return None
    try:
        return _Parser(tokens).parse_all()
    except UnreadError:
        return None
