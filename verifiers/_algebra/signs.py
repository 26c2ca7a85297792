r"""Text with formulas in it, plain or LaTeX, cut into signs: the smallest pieces that mean something.

The sibling of `_tokens`, which knows no variables. Everything gets a sign; what is not known becomes OTHER, beside which no formula is
read. A single letter is a name inside mathematics, and in running text where an operator, a relation or a digit touches it. Linear in
the text.
"""

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

__all__ = ["Kind", "Sign", "signs", "written"]


class Kind(Enum):
    """What a sign is to a formula."""

    NUMBER = auto()
    NAME = auto()
    OPERATOR = auto()
    OPEN = auto()
    CLOSE = auto()
    BAR = auto()
    DEGREES = auto()
    COMMAND = auto()
    RELATION = auto()
    ARROW = auto()
    WORD = auto()
    STOP = auto()
    ROW = auto()
    DELIMITER = auto()
    OTHER = auto()


class Sign(NamedTuple):
    """`glued`: no space before it; `math`: it stands inside delimiters of mathematics."""

    kind: Kind
    text: str
    glued: bool
    math: bool


# Order matters: each rule sees the text that the rules above it left. A rule is tried only where its first string occurs, for speed.
CLEANING: Sequence[tuple[str, re.Pattern[str], str]] = [
    (needle, re.compile(pattern, re.MULTILINE), replacement)
    for needle, pattern, replacement in [
        ("[asy]", r"\[asy\](?s:.{0,5000}?)\[/asy\]", " "),
        ("<<", r"<<[^<>\n]{0,200}>>", ""),
        ("\\begin", r"\\begin\{(?:align|aligned|equation|gather|gathered|split|multline|eqnarray)\*?\}", r"\\["),
        ("\\end", r"\\end\{(?:align|aligned|equation|gather|gathered|split|multline|eqnarray)\*?\}", r"\\]"),
        ("\\", r"\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname) ?\{([^{}\\\n]*)\}", r" \1 "),
        ("\\", r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree", "°"),
        ("{,}", r"\{,\}", ","),
        ("frac", r"(?<=frac)(?: ?(?=\d)| )(\d)(\d)", r"{\1}{\2}"),
        ("\\", r"(?<=\d)\\[,!;: ](?=\d{3})|(?<=\d,)\\!(?=\d{3})", ""),
        ("\\", r"(?<!\\)\\[,!;: ]|~|&", " "),
        ("&", r"&", " "),
        ("\\", r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![A-Za-z])\.?", ""),
        ("\\", r"\\(?:boxed|fbox)(?=\s*\{)", ""),
        ("`", "`", " "),
        ("**", r"(?<![\d)\s\w])\*\*|\*\*(?![\d(\s\w])|(?<=\s)\*\*(?=\S)|(?<=\S)\*\*(?=\s)|^\*\*", " "),
        ("", r"^[ \t]*(?:[-*•–][ \t]+|#+ |(?:\d{1,3}|[a-zA-Z])[.)][ \t]+|\((?:\d{1,3}|[a-zA-Z])\)[ \t]+)", "•"),
        ("et ", r"\b([Ll]et \$?(?:\\\()?[A-Za-z](?:\$|\\\))?) (?:be|equal) (?=\$?(?:\\\()?-?\d)", r"\1 = "),
        ("tep", r"\b[Ss]tep ?\d+\b", "•"),
        ("ase", r"\b[Cc]ase ?\d+\b", "Case •"),
    ]
]
SIGN = re.compile(
    r"""
      (?P<NUMBER>    (?<![\d.,]) \d{1,3}(?:,\d{3})+(?![\d,]) (?:\.\d+)? | \d+ (?:\.\d+)? | \.\d+ )
    | (?P<RATIO>     (?<=\d) [:'"] (?=\d) | \.\.+ | … )
    | (?P<ARROW>     =+> | -+> | <-+ | [→⇒⟹⇔] | \\(?:to|Rightarrow|rightarrow|implies|iff|Leftrightarrow
                     |Longrightarrow|longrightarrow)(?![A-Za-z]) )
    | (?P<RELATION>  <= | >= | (?<=\s)!= | [=<>≤≥≠≈≃≅∼] | \\(?:neq?|leq?|geq?|leqslant|geqslant|lt|gt|approx|simeq|cong)(?![A-Za-z]) )
    | (?P<COMMAND>   \\(?:[dt]?frac|sqrt|[dt]?binom|sin|cos|tan|cot|sec|csc|ln|log|exp)(?![A-Za-z]) | √
                     | (?<![A-Za-z\\])(?:sqrt|sin|cos|tan|ln|log)(?=[ (_^]) )
    | (?P<OPERATOR>  \*\* | \\(?:times|cdot|div|ast)(?![A-Za-z]) | \\\* | [-+*/^_!×÷·⋅∙∗−–⁄²³] )
    | (?P<SYMBOL>    \\(?:alpha|beta|gamma|delta|theta|lambda|mu|omega|phi|varphi|rho|sigma|tau|epsilon|pi|Delta)(?![A-Za-z]) | [α-ωπ] )
    | (?P<SET>       \\[{}] )
    | (?P<OPEN>      [(\[{] )
    | (?P<CLOSE>     [)\]}] )
    | (?P<BAR>       \| | \\vert(?![A-Za-z]) )
    | (?P<DEGREES>   ° )
    | (?P<CURRENCY>  \\\$ | \$ (?=\d) (?=[^$\n]{0,12}(?:\s|$|[.,;)])) (?![^$\n]*\$) )
    | (?P<DELIMITER> \\[()\[\]] | \$+ )
    | (?P<ROW>       \\\\ | \\newline(?![A-Za-z]) )
    | (?P<STOP>      [.,;:\n•—“”"?] | \\q?quad(?![A-Za-z]) )
    | (?P<WORD>      [^\W\d_²³]+ (?:['’][^\W\d_²³]+)* )
    | (?P<OTHER>     \\[A-Za-z]+ | \S )
    """,
    re.VERBOSE,
)
MATRIX = re.compile(r"\\begin\{[^{}]{1,20}\}.{0,2000}?\\end\{[^{}]{1,20}\}", re.DOTALL)
OPERATORS = {
    "**": "^", "\\times": "*", "\\cdot": "*", "\\div": "/", "\\ast": "*", "\\*": "*", "×": "*", "÷": "/", "·": "*", "⋅": "*", "∙": "*",
    "∗": "*", "−": "-", "–": "-", "⁄": "/",
}  # fmt: skip
RELATIONS = {
    "\\leq": "≤", "\\le": "≤", "<=": "≤", "\\leqslant": "≤", "\\geq": "≥", "\\ge": "≥", ">=": "≥", "\\geqslant": "≥", "\\lt": "<",
    "\\gt": ">", "\\ne": "≠", "\\neq": "≠", "!=": "≠", "\\approx": "≈", "\\simeq": "≈", "\\cong": "≅", "≃": "≈", "∼": "≈",
}  # fmt: skip
SUPERSCRIPTS = {"²": "2", "³": "3"}
SYMBOLS = {"π": "\\pi", "θ": "\\theta", "α": "\\alpha", "β": "\\beta", "ω": "\\omega", "λ": "\\lambda"}
MAX_INDEX = 12
"""The longest index of a name, in signs."""
TOUCHING = (Kind.OPERATOR, Kind.RELATION)


def signs(text: str) -> Sequence[Sign]:
    """All signs of the text, in order."""
    for needle, pattern, replacement in CLEANING:
        if needle in text:
            text = pattern.sub(replacement, text)
    if "\\begin" in text:
        text = MATRIX.sub(r" \\matrix ", text)
    return _named(list(_scan(text)))


def written(sequence: Sequence[Sign]) -> str:
    """The signs as text again, for a reason that a person reads."""
    shown = (f"\\{sign.text}" if sign.kind is Kind.COMMAND else sign.text for sign in sequence)
    return "".join(("" if sign.glued else " ") + text for sign, text in zip(sequence, shown, strict=True)).strip()


def _scan(text: str) -> Iterator[Sign]:
    end, math, before = 0, False, ""
    for match in SIGN.finditer(text):
        group, word = str(match.lastgroup), match[0]
        glued, end = match.start() == end and end > 0, match.end()
        if group == "DELIMITER":
            math = not math if word.startswith("$") else word in ("\\(", "\\[")
        if group == "STOP" and word == "\n" and math:
            end = -1
        elif group != "CURRENCY":
            yield from _signs_of(group, word, glued, math, before if glued else "")
        before = group


def _signs_of(group: str, word: str, glued: bool, math: bool, touching: str) -> Iterator[Sign]:
    if word in SUPERSCRIPTS:
        yield Sign(Kind.OPERATOR, "^", glued, math)
        yield Sign(Kind.NUMBER, SUPERSCRIPTS[word], True, math)
    elif group == "WORD":
        yield from _letters(word, glued, math, touching)
    elif group == "COMMAND":
        yield Sign(Kind.COMMAND, "sqrt" if word == "√" else re.sub(r"^[dt](?=frac|binom)", "", word.lstrip("\\")), glued, math)
    elif group == "SYMBOL":
        yield Sign(Kind.NAME, SYMBOLS.get(word, word), glued, math)
    elif group in ("RATIO", "SET"):
        yield Sign(Kind.OTHER, word, glued, math)
    else:
        text = OPERATORS.get(word) or RELATIONS.get(word) or word
        yield Sign(Kind[group], text, glued, math)


def _letters(word: str, glued: bool, math: bool, touching: str) -> Iterator[Sign]:
    """Names, where the letters can be names: in mathematics each small letter is one, capitals together are one."""
    if len(word) == 1 or (word.isupper() and len(word) <= 3 and math):
        yield Sign(Kind.NAME, word, glued, math)
    elif math and word.isascii() and word.isalpha() and len(word) <= 4 and (len(word) == 2 or glued or not word.islower()):
        for index, letter in enumerate(word):
            yield Sign(Kind.NAME, letter, glued or index > 0, math)
    elif touching in ("NUMBER", "CLOSE", "WORD") and not math:
        yield Sign(Kind.OTHER, word, glued, math)
    else:
        yield Sign(Kind.WORD, word, glued, math)


def _named(sequence: Sequence[Sign]) -> Sequence[Sign]:
    """With an index made part of its name, and single letters of prose made words."""
    named, at = list[Sign](), 0
    while at < len(sequence):
        sign = sequence[at]
        if sign.kind is Kind.NAME:
            index, at = _index(sequence, at + 1)
            if not index and not sign.math and not _touches(sequence, at - 1):
                named.append(sign._replace(kind=Kind.WORD))
            else:
                named.append(sign._replace(text=sign.text + index))
        else:
            named.append(sign)
            at += 1
    return named


def _index(sequence: Sequence[Sign], at: int) -> tuple[str, int]:
    """The index and primes that follow a name, and where they end."""
    text = ""
    if at + 1 < len(sequence) and sequence[at].text == "_":
        end = at + 2
        if sequence[at + 1].text == "{":
            while end < min(len(sequence), at + MAX_INDEX) and sequence[end].kind is not Kind.CLOSE:
                end += 1
            end += 1
        text, at = "".join(sign.text for sign in sequence[at:end]), end
    while at < len(sequence) and sequence[at].text == "'" and sequence[at].glued:
        text, at = text + "'", at + 1
    return text, at


def _touches(sequence: Sequence[Sign], at: int) -> bool:
    """Whether a letter in running text is mathematics."""
    before = sequence[at - 1] if at else None
    after = sequence[at + 1] if at + 1 < len(sequence) else None
    if before is not None and (before.kind in TOUCHING or (sequence[at].glued and before.kind in (Kind.NUMBER, Kind.OPEN, Kind.CLOSE))):
        return True
    return after is not None and (after.kind in TOUCHING or (after.glued and after.kind in (Kind.OPEN, Kind.CLOSE, Kind.NAME)))
