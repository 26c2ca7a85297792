r"""The lexer that all dialects share: from plain text, Unicode and LaTeX to tokens.

A dialect (see `verifiers.math.dialects`) is a subclass of `Lexer`: a list of cleaning rules, one
regular expression whose group names are kinds of tokens, and a rule for words. The cleaning rules
and patterns that several dialects use are defined here once. Lexing takes linear time.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import ClassVar, NamedTuple

Kind = Enum(
    "Kind",
    "NUMBER NAME OPERATOR OPEN CLOSE BAR COMMAND DEGREES PERCENT CURRENCY RELATION ARROW WORD STOP"
    " ROW DELIMITER OTHER END",
)
"""The roles of tokens in an expression; every dialect uses a part of them.

`END` follows the last token, for the parser.
"""


class Token(NamedTuple):
    """A token: `glued` means that no space precedes it, `math` that it is inside `$…$`."""

    kind: Kind
    text: str
    glued: bool = False
    math: bool = False


class Rule(NamedTuple):
    """A replacement in the text; it is tried only if the text contains `needle`, for speed."""

    needle: str
    pattern: re.Pattern[str]
    replacement: str


def rule(needle: str, pattern: str, replacement: str) -> Rule:
    """Compile a cleaning rule; `^` in the pattern matches at the start of each line."""
    return Rule(needle, re.compile(pattern, re.MULTILINE), replacement)


# Cleaning rules of several dialects.
DEGREE_SIGN = r"\^ ?(?:\\circ|\{ ?\\circ ?\})|\\degree"
THIN_SPACE_IN_NUMBER = rule("\\", r"(?<=\d)\\[,!;: ](?=\d{3})|(?<=\d,)\\!(?=\d{3})", "")
BRACED_COMMA = rule("{,}", r"\{,\}", ",")
DIGITS_AFTER_FRAC = rule("frac", r"(?<=frac)(?: ?(?=\d)| )(\d)(\d)", r"{\1}{\2}")
BACKTICK = rule("`", "`", " ")
STEP_NUMBER = rule("tep", r"\b[Ss]tep ?\d+\b", "•")
SIZES = r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits"


def text_command(names: str) -> Rule:
    r"""Return the rule that replaces `\text{…}` and the like by its content."""
    return rule("\\", rf"\\(?:{names}) ?\{{([^{{}}\\\n]*)\}}", r" \1 ")


# Token patterns of several dialects.
NUMBER = r"(?<![\d.,]) \d{1,3}(?:,\d{3})+(?![\d,]) (?:\.\d+)? | \d+ (?:\.\d+)? | \.\d+"
OPERATOR = (
    r"\*\* | [\ue001\ue002] | \\(?:times|cdot|div|ast)(?![A-Za-z]) | \\\* | [-+*/^×÷·⋅∙∗−–⁄²³]"
)
OPEN = r"[(\[{]"
CLOSE = r"[)\]}]"
ROW = r"\\\\"
STOP = r"[.,;:\n•—“”\"?]"
OTHER = r"\\[A-Za-z]+ | \S"

# Signs that are kept apart from `*` and `/`, because reading them takes an assumption: `÷` before a
# fraction, and the letter or the word that means times. The last two do not occur in texts.
OBELUS = "÷"
LETTER_TIMES = "\ue001"
WORD_TIMES = "\ue002"
# The letter x between numbers, with or without spaces around it, and no number in base 16.
GLUED_X = r"(?<=[\d)%])(?<!\b0)[xX](?=\d)"
SPACED_X = r"(?<=[\w)%}$!] )[xX](?= [\d$(.\\])"
READABLE = str.maketrans({LETTER_TIMES: "*", WORD_TIMES: "*"})

# Operators by their other spellings.
OPERATORS = {
    "**": "^",
    **dict.fromkeys(("\\times", "\\cdot", "\\ast", "\\*", "×", "·", "⋅", "∙", "∗"), "*"),
    **dict.fromkeys(("\\div", "÷", "⁄"), "/"),
    **dict.fromkeys(("−", "–"), "-"),
}
# Commands by their other spellings.
COMMANDS = {
    **dict.fromkeys(("\\dfrac", "\\tfrac"), "\\frac"),
    **dict.fromkeys(("\\dbinom", "\\tbinom"), "\\binom"),
    **dict.fromkeys(("√", "sqrt"), "\\sqrt"),
    **{name: f"\\{name}" for name in ("sin", "cos", "tan", "ln", "log")},
}
SUPERSCRIPTS = {"²": "2", "³": "3"}
KINDS = {kind.name: kind for kind in Kind}


def token_pattern(**groups: str) -> re.Pattern[str]:
    """Compile the pattern of a dialect; earlier groups take precedence."""
    alternatives = [f"(?P<{name}> {pattern} )" for name, pattern in groups.items()]
    return re.compile("|".join(alternatives), re.VERBOSE)


class Lexer:
    """The common part of the lexers."""

    cleaning: ClassVar[Sequence[Rule]]
    """Applied in order: each rule sees the output of the rules before it."""
    pattern: ClassVar[re.Pattern[str]]
    """Matches one token."""
    spellings: ClassVar[Mapping[str, str]] = {}
    """The canonical text of tokens that have several spellings."""
    groups: ClassVar[Mapping[str, Kind]] = KINDS
    """The kind of every group."""

    def tokens(self, text: str) -> Sequence[Token]:
        """Return all tokens of the text in order."""
        tokens = list[Token]()
        end = 0
        for match in self.pattern.finditer(self.clean(text)):
            glued = match.start() == end > 0
            end = match.end()
            self.add(tokens, str(match.lastgroup), match[0], glued, False)
        return tokens

    def clean(self, text: str) -> str:
        """Return the text after the cleaning rules."""
        for needle, pattern, replacement in self.cleaning:
            if needle in text:
                text = pattern.sub(replacement, text)
        return text

    def add(self, tokens: list[Token], group: str, text: str, glued: bool, math: bool) -> None:
        """Append the tokens of one match."""
        if text in SUPERSCRIPTS:
            tokens.append(Token(Kind.OPERATOR, "^", glued, math))
            tokens.append(Token(Kind.NUMBER, SUPERSCRIPTS[text], True, math))
        else:
            tokens.append(Token(self.groups[group], self.spellings.get(text, text), glued, math))


def written(tokens: Sequence[Token]) -> str:
    """Return the tokens as text that a person can read."""
    text = "".join([token.text if token.glued else " " + token.text for token in tokens])
    return text.translate(READABLE).strip()
