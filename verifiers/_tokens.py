r"""Text with mathematics in it, plain or basic LaTeX, cut into tokens.

Everything gets a token, and whatever is not known to be harmless becomes OTHER, next to which no expression is understood: variables,
unknown commands, `!`, `|`, `_`, `…`, number words, "of". Linear in the text.
"""

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from verifiers._lexicon import MATHEMATICAL, SHORT_UNITS

__all__ = ["Kind", "Token", "tokens", "written"]


class Kind(Enum):
    """What a token is to an expression."""

    NUMBER = auto()
    OPERATOR = auto()
    OPEN = auto()
    CLOSE = auto()
    PERCENT = auto()
    CURRENCY = auto()
    FRACTION = auto()
    ROOT = auto()
    WORD = auto()
    RELATION = auto()
    STOP = auto()
    DELIMITER = auto()
    OTHER = auto()


class Token(NamedTuple):
    """`glued` tells that no space stands between this token and the one before."""

    kind: Kind
    text: str
    glued: bool


# Order matters: each rule sees the text that the rules above it left. A rule is tried only where its first string occurs, for speed.
CLEANING: Sequence[tuple[str, re.Pattern[str], str]] = [
    (needle, re.compile(pattern, re.MULTILINE), replacement)
    for needle, pattern, replacement in [
        ("\\", r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname) ?\{([^{}\\\n]*)\}", r" \1 "),
        ("\\", r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree", "°"),
        ("°", "°", " degrees "),
        ("{,}", r"\{,\}", ","),
        ("\\", r"(?<=frac)(?: ?(?=\d)| )(\d)(\d)", r"{\1}{\2}"),
        ("\\", r"(?<=\d)\\[,!;: ](?=\d{3})|(?<=\d,)\\!(?=\d{3})", ""),
        ("\\", r"(?<!\\)\\[,!;: ]|\\quad|\\qquad|~(?=[\\ ])|&", " "),
        ("\\", r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|boxed|fbox|limits)(?![A-Za-z])", ""),
        ("`", "`", " "),
        ("**", r"(?<![\d)\s])\*\*|\*\*(?![\d(\s])|(?<=\s)\*\*(?=\S)|(?<=\S)\*\*(?=\s)|^\*\*", " "),
        ("__", "__", " "),
        ("", r"^[ \t]*(?:[-*•–][ \t]+|#+ |(?:\d{1,3}|[a-zA-Z])[.)][ \t]+)", "•"),
        ("(", r"^[ \t]*\((?:\d{1,3}|[a-zA-Z])\)[ \t]+(?![-+*/^=×÷·−–\\])", "•"),
        ("tep", r"\b[Ss]tep ?\d+\b", "•"),
        ("otal of", r"\b[Tt]otal of\b", "total"),
        ("percent", r"\bpercent\b", "%"),
        ("of", r"(?<=%) of (?=\\?[$€£]? ?\(?\d)|(?<=\d/\d) of (?=\\?[$€£]?\(?\d)", " * "),
        ("times", r"(?<=\d )times(?= [\d$(])", "*"),
        ("multiplied by", r"(?<=\d )multiplied by(?= [\d$(])", "*"),
        ("plus", r"(?<=\d )plus(?= [\d$(])", "+"),
        ("minus", r"(?<=\d )minus(?= [\d$(])", "-"),
        ("divided by", r"(?<=\d )divided by(?= [\d$(])", "/"),
        ("x", r"(?<=\d)(\s*)x(\s*)(?=[\d$(.])|(?<=[\w%)]\s)x(?=\s[\d$(.])", r"\1*\2"),
        ("X", r"(?<=\d)(\s*)X(\s*)(?=[\d$(.])|(?<=[\w%)]\s)X(?=\s[\d$(.])", r"\1*\2"),
    ]
]
TOKEN = re.compile(
    r"""
      (?P<NUMBER>   (?<![\d.,]) \d{1,3}(?:,\d{3})+(?![\d,]) (?:\.\d+)? | \d+ (?:\.\d+)? | \.\d+ )
    | (?P<RATIO>    (?<=\d) [:,'"] (?=\d) | \.\.+ | … )
    | (?P<ARROW>    (?<!=)=+> | <=+ | >= | := | != | /= | <-+ | -+> | -{2,} | [<>≤≥≠→⇒≡] | \\(?:neq?|leq?|geq?|lt|gt|equiv|to|Rightarrow
                    |rightarrow|implies|iff|Leftrightarrow|therefore|because|Longrightarrow|longrightarrow|newline)(?![A-Za-z]) )
    | (?P<RELATION> ==? | [≈≃≅∼] | \\(?:approx|simeq|cong)(?![A-Za-z]) )
    | (?P<FRACTION> \\[dt]?frac(?![A-Za-z]) )
    | (?P<ROOT>     \\sqrt(?![A-Za-z\[]) | √ )
    | (?P<OPERATOR> \*\* | \\(?:times|cdot|div|ast)(?![A-Za-z]) | \\\* | [-+*/^×÷·⋅∙∗−–⁄²³] )
    | (?P<OPEN>     [(\[{] )
    | (?P<CLOSE>    [)\]}] )
    | (?P<PERCENT>  \\?% )
    | (?P<CURRENCY> \\\$ | [€£¢] | \$ (?=[-−]?\.?\d) )
    | (?P<DELIMITER> \\[()\[\]] | \$+ )
    | (?P<STOP>     [.,;:\n•—“”"?] | \\\\ )
    | (?P<LETTER>   (?<![^\W\d_]) [aA] (?!\w|\ [^\W\d_]) )
    | (?P<WORD>     (?: (?<=\d)-)? [^\W\d_]+ (?:[-'’][^\W\d_]+)* )
    | (?P<OTHER>    \\[A-Za-z]+ | \S )
    """,
    re.VERBOSE,
)
OPERATORS = {
    "**": "^", "\\times": "*", "\\cdot": "*", "\\div": "/", "\\ast": "*", "\\*": "*", "×": "*", "÷": "/", "·": "*", "⋅": "*", "∙": "*",
    "∗": "*", "−": "-", "–": "-", "⁄": "/",
}  # fmt: skip
SUPERSCRIPTS = {"²": "2", "³": "3"}
KINDS = {"RATIO": Kind.OTHER, "LETTER": Kind.OTHER, "ARROW": Kind.STOP} | {kind.name: kind for kind in Kind}


def tokens(text: str) -> Sequence[Token]:
    """All tokens of the text, in order."""
    for needle, pattern, replacement in CLEANING:
        if needle in text:
            text = pattern.sub(replacement, text)
    return list(_scan(text))


def written(sequence: Sequence[Token]) -> str:
    """The tokens as text again, for a reason that a person reads."""
    return "".join(("" if token.glued else " ") + token.text for token in sequence).strip()


def _scan(text: str) -> Iterator[Token]:
    end = 0
    for match in TOKEN.finditer(text):
        kind, word = KINDS[str(match.lastgroup)], match[0]
        glued, end = match.start() == end and end > 0, match.end()
        if word in SUPERSCRIPTS:
            yield Token(Kind.OPERATOR, "^", glued)
            yield Token(Kind.NUMBER, SUPERSCRIPTS[word], True)
        elif word == "?" or (kind is Kind.WORD and not _is_plain(word, glued)):
            yield Token(Kind.OTHER, word, glued)
        else:
            yield Token(kind, OPERATORS.get(word, word), glued)


def _is_plain(word: str, glued: bool) -> bool:
    """A word of prose or a unit: no variable, no point's name (`AB`), no function, no number."""
    lower = word.lower().lstrip("-")
    if lower in MATHEMATICAL or (word.isupper() and 1 < len(word) <= 4):
        return False
    if len(lower) <= 2:
        return lower in SHORT_UNITS and not (glued and len(lower) == 1)
    return True
