r"""A formula, plain or LaTeX, cut into tokens that spell it in one way: `\dfrac`, `½`, `$…$`, `\left(` and the like are gone.

What is not known to be harmless has no token, and then the whole formula has none: macros, primes, dots, sums, integrals, other alphabets.
"""

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from verifiers._answers.words import COMMANDS, FUNCTIONS, GREEK, NO_PRODUCTS, PRODUCTS, SYNONYMS

__all__ = ["Kind", "Token", "UnreadError", "latex", "tokens"]

MAX_TOKENS = 400
ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1}
UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ",
        "≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "²": "^2 ", "³": "^3 ", "θ": r"\theta ",
        "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
    }
)  # fmt: skip
WORDING = r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|operatorname)\s*"
CLEANING: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(WORDING + r"\{([^{}\\]*[^{}\\A-Za-z .'-][^{}\\]*|\s*[A-Za-z]?\s*)\}"), r" \1 "),
    (re.compile(WORDING + r"\{"), r"\\text{"),
    (re.compile(r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree|°"), r"\\circ "),
    (re.compile(r"(?<=\d)\\[,!;: ](?=\d{3})|(?<=\d,)\\!(?=\d{3})"), ""),
    (re.compile(r"(?<!\\)\\[()\[\]]"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])"), " "),
    (re.compile(r"(?<!\\)\\[,!;: ]|\\q?quad(?![A-Za-z])|~"), " "),
    (re.compile(r"(?<=frac) *(\d)(\d)"), r"{\1}{\2}"),
]
TOKEN = re.compile(
    r"""\s*(?:
      (?P<NUMBER>  [0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])(?:\.[0-9]+)? | [0-9]+(?:\.[0-9]+)? | \.[0-9]+ )
    | (?P<TEXT>    \\text\{[^{}]*\} )
    | (?P<COMMAND> \\(?:[A-Za-z]+|[{}%$|\\]) )
    | (?P<WORD>    [A-Za-z]+ )
    | (?P<MARK>    [-+*/^_=<>()\[\]{}|!,;:%&$] )
    )""",
    re.VERBOSE,
)
FACTORS = frozenset("abckmnpqrstuvwxyz")
WORDS = {"pi": r"\pi", "sqrt": r"\sqrt", "infinity": r"\infty", "inf": r"\infty", "oo": r"\infty", "infty": r"\infty"}


class UnreadError(Exception):
    """Not understood, or beyond a bound; the text says why."""


class Kind(Enum):
    """What a token is to a formula."""

    NUMBER = auto()
    NAME = auto()
    FUNCTION = auto()
    COMMAND = auto()
    TEXT = auto()
    MARK = auto()


class Token(NamedTuple):
    """`text` is a bare word for functions and texts; `glued` tells that no space stands before."""

    kind: Kind
    text: str
    glued: bool = False


def tokens(text: str) -> Sequence[Token]:
    """All tokens; raises `UnreadError` at the first thing that has none."""
    text = text.translate(UNICODE)
    for pattern, spelling in CLEANING:
        text = pattern.sub(spelling, text)
    if text.count("$") - text.count(r"\$") > 1:
        text = re.sub(r"(?<!\\)\$", " ", text)
    found = list(_scan(text.strip()))
    if len(found) > MAX_TOKENS:
        raise UnreadError("too long")
    return found


def latex(sequence: Sequence[Token]) -> str:
    """The tokens as plain LaTeX: a brace round every argument, and a space only between letters."""
    spelling, written = _Spelling(), ""
    for token in sequence:
        text = spelling.of(token)
        written += " " * (written[-1:].isalpha() and text[:1].isalpha()) + text
    return written


class _Spelling:
    r"""Writes tokens one after another; `arguments` holds, for every open bracket, how many arguments `\frac` and the like still want."""

    def __init__(self) -> None:
        self.arguments = [0]
        self.closing = [""]

    def of(self, token: Token) -> str:
        text = token.text.replace(",", "")
        if text in ("(", "{", "["):
            return self._opened(text)
        if text in (")", "}", "]") and len(self.closing) > 1:
            self.arguments.pop()
            return self.closing.pop() or text
        if self.arguments[-1] and (token.kind in (Kind.NUMBER, Kind.NAME) or text == r"\pi"):
            self.arguments[-1] -= 1
            return "{" + text + "}"
        self.arguments[-1] = ARGUMENTS.get(text, 0)
        return "\\" + text if token.kind is Kind.FUNCTION else text

    def _opened(self, text: str) -> str:
        is_argument = self.arguments[-1] > 0 and text != "["
        self.arguments[-1] -= is_argument
        self.arguments.append(0)
        self.closing.append("}" if is_argument else "")
        return "{" if is_argument else text


def _scan(text: str) -> Iterator[Token]:
    end = 0
    while end < len(text):
        match = TOKEN.match(text, end)
        if match is None:
            raise UnreadError("a sign that is not understood")
        group = str(match.lastgroup)
        glued, end = match.start(group) == end, match.end()
        yield from _named(group, match[group], glued)


def _named(group: str, text: str, glued: bool) -> Iterator[Token]:
    if group == "TEXT":
        yield Token(Kind.TEXT, text[len(r"\text{") : -1].strip(" ."), glued)
    elif group == "COMMAND":
        yield _command(text[1:], glued)
    elif group == "WORD":
        yield from _word(text, glued)
    else:
        yield Token(Kind[group], text, glued)


def _command(name: str, glued: bool) -> Token:
    name = SYNONYMS.get(name, name)
    if name in FUNCTIONS:
        return Token(Kind.FUNCTION, name, glued)
    if name in GREEK:
        return Token(Kind.NAME, "\\" + name, glued)
    if name in ("|", "<", ">"):
        return Token(Kind.MARK, name, glued)
    if name in ("and", "or"):
        return Token(Kind.TEXT, name, glued)
    if name == "i":
        return Token(Kind.NAME, "i", glued)
    if name not in COMMANDS:
        raise UnreadError(f"\\{name[:20]} is not understood")
    return Token(Kind.COMMAND, "\\" + name, glued)


def _word(word: str, glued: bool) -> Iterator[Token]:
    if word in FUNCTIONS:
        yield Token(Kind.FUNCTION, word, glued)
    elif word in WORDS:
        yield Token(Kind.COMMAND, WORDS[word], glued)
    elif len(word) == 1 or word in PRODUCTS or (len(word) == 2 and word not in NO_PRODUCTS and FACTORS.issuperset(word)):
        for index, letter in enumerate(word):
            yield Token(Kind.NAME, letter, glued or index > 0)
    else:
        yield Token(Kind.TEXT, word, glued)
