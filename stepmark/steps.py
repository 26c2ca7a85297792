r"""Split a solution into steps without losing a byte: `"".join(split(text, how)) == text`, always.

    line         after each line break
    blank_line   after each run of blank lines
    numbered     before each line that begins with a number of a step: "Step 2", "2.", "2)",
                 "(2)", "2:", "[Step 2]", "步骤 2", also behind a list dash or Markdown's ** or ###
    sentence     after each sentence and each run of blank lines, never within mathematics
                 ($…$, $$…$$, \(…\), \[…\]) and not after the ellipsis or factorial of a sum
    think        after each run of blank lines, and between thinking (<think>…</think>) and response
    regex:…      after each match of the user's pattern, which matches separators: a separator
                 stays with the step before it

Steps are never empty, and whitespace alone is not a step: it stays with the step before it, or at
the start with the step after it. A text of nothing but whitespace is one step.

A sum that goes on behind a line break ("1 + 2 +", then "3 = 6") is not cut, except by the user's
pattern: neither part could be checked, and the second one alone may be false.

Steps that are given as a list are joined to one text, and separated again, without loss either.

What is not covered: code blocks, HTML, and a minus sign at the start of a line, which is taken for
a list dash.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

# `re` has no timeout, so a pattern that backtracks could block the event loop forever. `regex` is a
# dependency of Prefect (via dateparser).
import regex  # type: ignore[import-untyped]

from stepmark.errors import ConfigError
from stepmark.thinking import THINKING_ENDS, THINKING_STARTS

__all__ = [
    "RESPONSE_START",
    "SEPARATOR",
    "SPLIT_METHODS",
    "Splitter",
    "append_separator",
    "remove_separator",
    "response_start",
    "split",
    "thinking_metadata",
    "validate",
]

SPLIT_METHODS = ("line", "blank_line", "numbered", "sentence", "think", "regex:PATTERN")

# Increment when a text is cut at other places: existing traces are then made again.
VERSION = 2
# The same for `think`, which alone depends on the markers of thinking.
THINK_VERSION = 3
RESPONSE_START = "response_from"
"""The key in a trace's metadata for the index of its first step after the thinking."""
SEPARATOR = "step_separator"
"""The key in a trace's metadata under which the separator of `append_separator` is stored."""
PARAGRAPH_BREAK = "\n\n"
REGEX_PREFIX = "regex:"
THINK = "think"
# Seconds of processor time for all matches of the user's pattern in one text. Much more than needed
# (1 MB takes 0.01 s), so that the cuts do not depend on the speed of the machine: a pattern that
# exceeds the limit stops the run.
REGEX_SECONDS = 5.0
# `regex` unrolls counted repeats while it compiles, without a limit: (a{999}){999} takes 273 MB.
MAX_PATTERN = 500
MAX_REPEATS = 1000


def split(text: str, how: str, *, join_sums: bool = True) -> tuple[str, ...]:
    r"""Split the text into steps.

    Args:
        text: A solution.
        how: One of `SPLIT_METHODS`.
        join_sums: Do not cut where a sum goes on. Labels that a file gives for lines or paragraphs
            need the plain cuts.

    Raises:
        ConfigError: `how` is not a split method, or its pattern is invalid or too slow.

    >>> split("Step 1: 2 + 2 = 4\n\nStep 2: 4 / 2 = 2", "line")
    ('Step 1: 2 + 2 = 4\n\n', 'Step 2: 4 / 2 = 2')
    """
    if how == "line" and not _MAYBE_CUT_SUM.search(text):
        # A run splits every rollout, mostly like this. This takes half of the time, and few texts
        # have blank lines.
        lines = _LINE.findall(text)
        if not any(map(str.isspace, lines)):
            return tuple(lines)
    cuts = _cutter(how)(text)
    if join_sums and how in _CUTTERS:
        cuts = (cut for cut in cuts if not _cuts_sum(text, cut))
    return tuple(_pieces(text, cuts))


@dataclass(frozen=True)
class Splitter:
    """A function that splits solutions into steps by one of `SPLIT_METHODS`.

    A step with fewer than `min_step_chars` characters is joined with the steps after it, and the
    last one with the step before it. Thinking and response stay apart.

    Raises:
        ConfigError: `how` is not a split method, or its pattern is invalid.
    """

    how: str
    min_step_chars: int = 0

    def __post_init__(self) -> None:
        validate(self.how)

    @property
    def version(self) -> int:
        """The version of the places at which a text is cut."""
        return THINK_VERSION if self.how == THINK else VERSION

    def __call__(self, text: str) -> tuple[str, ...]:
        """Return the steps of a solution; see `split`."""
        steps = split(text, self.how)
        if not self.min_step_chars:
            return steps
        return tuple(self._join_short(steps))

    def _join_short(self, steps: Iterable[str]) -> list[str]:
        joined: list[str] = []
        short: list[str] = []
        # Without the white space around the steps.
        length = 0
        # Whether a short step may be appended to the last of `joined`.
        may_append = False
        for step in steps:
            short.append(step)
            length += len(step.strip())
            ends_thinking = self.how == THINK and _ends_thinking(step)
            if length < self.min_step_chars and not ends_thinking:
                continue
            if length < self.min_step_chars and may_append:
                short.insert(0, joined.pop())
            joined.append("".join(short))
            may_append = not ends_thinking
            short = []
            length = 0
        if short and may_append:
            short.insert(0, joined.pop())
        if short:
            joined.append("".join(short))
        return joined


def thinking_metadata(steps: Sequence[str], how: str) -> Mapping[str, str]:
    """Return the metadata of a trace whose thinking ends before a step, empty for other traces.

    Args:
        steps: The steps of a solution.
        how: How it was split; only `think` keeps thinking and response apart.
    """
    if how != THINK:
        return {}
    start = response_start(steps)
    if start is None:
        return {}
    return {RESPONSE_START: str(start)}


def response_start(steps: Sequence[str]) -> int | None:
    """Return the index of the first step after the thinking; None if no thinking ends before one.

    Args:
        steps: The steps of a solution, split by `think`.
    """
    for index in range(len(steps) - 1, 0, -1):
        if _ends_thinking(steps[index - 1]):
            return index
    return None


def append_separator(steps: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Append a separator to listed steps so that they can be joined to a text.

    If no step but the last ends in a line break, the steps are paragraphs: the separator is a blank
    line. Otherwise it is empty.

    Args:
        steps: At least one step.

    Returns:
        The steps, all but the last with the separator appended, and the separator.
    """
    *before, last = steps
    has_line_breaks = any(step.endswith("\n") for step in before)
    separator = "" if has_line_breaks else PARAGRAPH_BREAK
    return (*(step + separator for step in before), last), separator


def remove_separator(steps: Sequence[str], separator: str) -> list[str]:
    """Remove the separator that `append_separator` appended to all steps but the last."""
    return [*(step.removesuffix(separator) for step in steps[:-1]), *steps[-1:]]


def validate(how: str) -> None:
    """Check that `how` is one of `SPLIT_METHODS` with a valid pattern.

    Raises:
        ConfigError: It is not.
    """
    _cutter(how)


def _cutter(how: str) -> Callable[[str], Iterable[int]]:
    """Return the function that finds the positions at which a text is cut, in ascending order."""
    if how.startswith(REGEX_PREFIX):
        return _pattern_cutter(how.removeprefix(REGEX_PREFIX))
    if how not in _CUTTERS:
        methods = ", ".join(SPLIT_METHODS)
        raise ConfigError(f"split: no way of splitting called '{how}'; there are: {methods}")
    return _CUTTERS[how]


def _pieces(text: str, cuts: Iterable[int]) -> Iterator[str]:
    """Cut the text at ascending positions.

    A piece of nothing but whitespace is appended to the piece before it, or at the start prepended
    to the piece after it.
    """
    begin = end = 0
    for cut in (*cuts, len(text)):
        # Between `end` and `cut` is the next candidate, between `begin` and `end` the open piece.
        is_blank = text[end:cut].isspace() or cut == end
        # The open piece is examined only for a candidate with text: examining it for every line
        # break of a long blank text would take quadratic time.
        if not is_blank and not text[begin:end].isspace() and end > begin:
            yield text[begin:end]
            begin = end
        end = cut
    if end > begin:
        yield text[begin:end]


_NEW_LINE = re.compile(r"\n")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*+\n)+")
# All languages are searched together: a word for "step" in front of a number means it in any text.
_STEP_WORDS = (
    "step|schritt|étape|etape|paso|passo|pasul|krok|stap|adım|langkah|bước|шаг|крок|βήμα"
    "|步骤|步驟|ステップ|手順|단계|चरण|خطوة|الخطوة"
)
_NUMBER_WORDS = "one|two|three|four|five|six|seven|eight|nine|ten"
_CHINESE_NUMBER = "[一二三四五六七八九十]{1,3}+"
_NUMBER = re.compile(
    rf"""
    ^[^\S\n]*+
    (?: [-*+•–>] [^\S\n]++ ){{0,3}}+                     # list dashes, quotation marks
    (?: \#{{1,6}} [^\S\n]++ )?+
    (?: \\[a-z]{{1,16}}+ \*?+ (?: \{{ | [^\S\n]++ ) )?+   # \textbf{{, \item
    (?: \*\* | __ )?+
    (?:
        [(\[<（【]?+ (?:{_STEP_WORDS}) [^\S\n]*+ [\#№(\[-]?+ [^\S\n]*+
        (?: \d{{1,4}}+ (?![a-z]) | [ivx]{{1,4}}+ (?= [:.)] )
          | (?: {_NUMBER_WORDS} )\b | {_CHINESE_NUMBER} )
      | 第 [^\S\n]*+ (?: \d{{1,4}}+ | {_CHINESE_NUMBER} ) [^\S\n]*+ 步
      | \d{{1,4}}+ [^\S\n]*+ 단계
      | \d{{1,4}}+ (?: [.)] (?= [\s*_] | $ ) | [、．）] )
      | [①-⑳]
      | (?: [(\[]?+ (?P<weak> \d{{1,3}}+ ) [)\]:] (?= [\s*_] | $ )
          | （ (?P<wide> \d{{1,3}}+ ) ） )
        (?! [^\S\n]*+ [-+*/×÷·−–=<>≤≥≈^.,;:)] )
    )
    """,
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)


def _after_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _NEW_LINE.finditer(text))


def _after_blank_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _BLANK_LINES.finditer(text))


def _before_numbers(text: str) -> Iterator[int]:
    # "(2)" or "2:" at the start of a line can also be a reference to an equation, a year or a
    # ratio: only such numbers that count up from 1 are those of steps.
    expected = 1
    for match in _NUMBER.finditer(text):
        weak_number = match["weak"] or match["wide"]
        if weak_number is None:
            yield match.start()
        elif int(weak_number) == expected:
            expected += 1
            yield match.start()


_THINKING_END = re.compile(THINKING_ENDS, re.IGNORECASE)
# White space behind a marker stays with it, and a marker that ends thinking with the text before.
_THINKING_TOKEN = re.compile(
    rf"(?P<start>{THINKING_STARTS})\s*+"
    rf"|(?P<end>{THINKING_ENDS})\s*+"
    rf"|\n(?:[^\S\n]*+\n)++(?![^\S\n]*+(?:{THINKING_ENDS}))",
    re.IGNORECASE,
)


def _around_thinking(text: str) -> Iterator[int]:
    for token in _THINKING_TOKEN.finditer(text):
        if token["start"]:
            yield token.start()
        else:
            yield token.end()


def _ends_thinking(step: str) -> bool:
    return _THINKING_END.search(step) is not None


# The characters on both sides of a cut that decide whether a sum goes on: longer than any sign of
# TeX between white space.
_NEAR_CUT = 40
_TEX_OPERATORS = ("times", "cdot", "div", "pm", "mp")
_TEX_SIGNS = (*_TEX_OPERATORS, "approx", "equiv", "le", "leq", "ge", "geq", "ne", "neq")
_OPERAND = r"(?:[\d)}\]%!…]|\.\.|\\[cl]?dots|(?<![^\W\d_])[^\W\d_])"
_LINE_END = r"[^\S\n]*+\$?+\$?+(?:\\\\)?+$"
# A sign is behind a space or a number: "5+", but not "C++", "A-", "**bold**" or "- OR -".
_SIGN_AT_END = re.compile(
    rf"(?:\S[^\S\n]+[+×÷·=≤≥≈≠]|{_OPERAND}[^\S\n]+[-*/−–<>^]|[\d)}}\]][+×÷·−=≤≥≈≠]"
    rf"|\\(?:{'|'.join(_TEX_SIGNS)})){_LINE_END}"
)
# No minus sign and no asterisk, which are list dashes as well. A line that begins with "=" is
# a separate step: without a left side it cannot be false.
_SIGN_AT_START = re.compile(
    rf"\$?+\$?+&?+[^\S\n]*+(?:[×÷·]|/[^\S\n]|\\(?:{'|'.join(_TEX_OPERATORS)})(?![A-Za-z]))"
)
_PLUS_AT_START = re.compile(r"\$?+\$?+&?+[^\S\n]*+\+(?!\+)")
_OPERAND_AT_END = re.compile(_OPERAND + _LINE_END)
# Matches in every text without blank lines in which `_cuts_sum` can be true. It begins with a line
# break, which `re` finds fast, and looks back from there. Few lines end with a letter, so that the
# names are seldom compared.
_TEX_SIGN_BEFORE_BREAK = "|".join(rf"(?<=\\{name}\n)" for name in _TEX_SIGNS)
_MAYBE_CUT_SUM = re.compile(
    r"\n(?:(?<=[-+*/×÷·−–=<>≤≥≈≠^$\\\s]\n)"
    rf"|(?<=[a-z]\n)(?:{_TEX_SIGN_BEFORE_BREAK})"
    r"|[^\S\n]*+[$&×÷·/+\\])"
)


def _cuts_sum(text: str, cut: int) -> bool:
    """Check that a sum goes on at the position of a line break."""
    before = text[max(0, cut - _NEAR_CUT) : cut].rstrip()
    line_before = before.rpartition("\n")[2]
    after = text[cut : cut + _NEAR_CUT].lstrip()
    if not line_before or not after:
        return False
    if _SIGN_AT_END.search(line_before):
        return True
    if not _OPERAND_AT_END.search(line_before):
        return False
    if _SIGN_AT_START.match(after):
        return True
    if _PLUS_AT_START.match(after):
        # A plus sign in front of each of two lines makes a list.
        end = cut - len(text[max(0, cut - _NEAR_CUT) : cut]) + len(before)
        line_start = text.rfind("\n", 0, end) + 1
        return not _PLUS_AT_START.match(text, line_start)
    return False


# Alternatives either exclude their own opening token or are possessive, so that no character is
# read more than a few times. A `$` delimits mathematics under Pandoc's rule (no white space inside
# either `$`, no digit after the second): "$5. He has $6" is an amount of money.
_SENTENCE_TOKEN = re.compile(
    r"""
      (?P<mathematics> \$\$ (?:\\.|[^$\\])++ \$\$
                     | \$ (?=[^\s$]) (?:\\.|[^$\\\n]|\n(?![^\S\n]*+\n))++ (?<=\S) \$ (?!\d)
                     | \\\( (?:(?!\\[()]).)*+ \\\)
                     | \\\[ (?:(?!\\[\[\]]).)*+ \\\]
      )
    | \\.
    | (?P<blank> \n(?:[^\S\n]*+\n)+ )
    | (?P<ellipsis> (?: \.{2,}+ | …++ | \.(?:[^\S\n]\.){2,}+ ) ["'”’)\]*_]*+ )
    | (?P<stop> [.!?]++ ["'”’)\]*_]*+ )
    | (?P<wide_stop> [。！？｡]++ ["'”’)\]*_」』]*+ )
    """,
    re.VERBOSE | re.DOTALL,
)
# The white space between sentences: up to the last line break, or all spaces of the line.
_GAP = re.compile(r"\s*\n|[^\S\n]*")
# Longer than every abbreviation below. It bounds the work on a text without spaces.
_LONGEST_WORD = 16
_TITLES = frozenset(("dr", "jr", "mr", "mrs", "ms", "prof", "sr", "st"))
_ABBREVIATIONS = _TITLES | frozenset(
    (
        "approx",
        "cf",
        "e.g",
        "eq",
        "eqn",
        "eqs",
        "fig",
        "i.e",
        "resp",
        "viz",
        "vs",
        "w.l.o.g",
        "w.r.t",
    )
)
# These abbreviations can also end a sentence: they do if the next word has a capital letter.
_MAYBE_ABBREVIATIONS = frozenset(
    ("a.m", "al", "etc", "ft", "hr", "in", "lb", "min", "no", "oz", "p.m", "sec", "u.k", "u.s")
)


# A stop in front of one of these is part of a formula, such as the factorial in "5! = 120".
_SIGNS = frozenset("=+×÷·≤≥≈≠^,;")
# Behind a factorial, these go on with the formula too.
_SIGNS_AFTER_FACTORIAL = _SIGNS | frozenset("-−–*/<>:)]}\\")
# Longer than the white space between the words of a line.
_LONGEST_GAP = 16


def _after_sentences(text: str) -> Iterator[int]:
    # Tokens of mathematics and escaped characters yield no cut: they only hide their full stops.
    for token in _SENTENCE_TOKEN.finditer(text):
        if token["blank"]:
            yield token.end()
            continue
        if token["ellipsis"]:
            is_end = _ellipsis_ends_sentence(text, token.start(), token.end())
        elif token["stop"]:
            is_end = _ends_sentence(text, token.start(), token.end())
        else:
            # Chinese and Japanese have no space after a stop.
            is_end = bool(token["wide_stop"])
        if is_end:
            gap = _GAP.match(text, token.end())
            yield gap.end() if gap else token.end()


def _ellipsis_ends_sentence(text: str, start: int, end: int) -> bool:
    """Check that an ellipsis is not part of a list or sum, as in "1 + 2 + ... + 9"."""
    following = text[end : end + 1]
    if following and not following.isspace():
        return False
    next_text = _next_in_line(text, end).lstrip("\"'(“‘*_")
    if not next_text:
        return True
    before = text[max(0, start - _LONGEST_GAP) : start].rstrip()
    if before.endswith((",", "+", "-", "−", "*", "×", "·", "=", "<", "≤", "/")):
        # "A, B, ... Z are letters", but "2, 4, 6, ... The next one is 8".
        return next_text[0].isupper() and next_text[1:2].islower()
    return next_text[0].isupper()


def _next_in_line(text: str, position: int) -> str:
    """Return the beginning of the text after a position, "" if the line or text ends first."""
    window = text[position : position + _LONGEST_GAP]
    return window.partition("\n")[0].lstrip()


def _is_factorial(text: str, start: int, end: int) -> bool:
    """Check that an exclamation mark follows a number, a bracket or a single letter."""
    if text[start:end] not in ("!", "!!"):
        return False
    before = text[max(0, start - 2) : start]
    if before[-1:].isdigit() or before.endswith((")", "}")):
        return True
    return before[-1:].isalpha() and not before[:-1].isalpha()


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """Check that the stop between `start` and `end` ends a sentence."""
    following = text[end : end + 1]
    if following and not following.isspace():
        return False
    next_character = _next_in_line(text, end)[:1]
    if next_character in _SIGNS:
        return False
    if _is_factorial(text, start, end):
        return not next_character.islower() and next_character not in _SIGNS_AFTER_FACTORIAL
    if text[start] != ".":
        return True
    word = _word_before(text, start)
    if word.lower() in _MAYBE_ABBREVIATIONS:
        next_word = text[end : end + 2].strip()
        return not next_word or next_word.isupper()
    return word.lower() not in _ABBREVIATIONS and not _is_list_number(text, word, start)


def _word_before(text: str, position: int) -> str:
    """Return the word that ends at a position, without opening brackets and quotes; "" if none."""
    window = text[max(0, position - _LONGEST_WORD) : position]
    words = window.split()
    if not words or window[-1].isspace():
        return ""
    return words[-1].lstrip("([{\"'*_“‘")


def _is_list_number(text: str, word: str, position: int) -> bool:
    """Check that a full stop belongs to the number at the start of a line, as in "2. Add."."""
    line_start = text.rfind("\n", max(0, position - _LONGEST_WORD), position) + 1
    if line_start == 0 and position > _LONGEST_WORD:
        # The line begins before the searched window, too far away for a list number.
        return False
    return word.isdigit() and text[line_start:position].strip(" \t*#_") == word


_CUTTERS: Mapping[str, Callable[[str], Iterable[int]]] = {
    "line": _after_lines,
    "blank_line": _after_blank_lines,
    "numbered": _before_numbers,
    "sentence": _after_sentences,
    THINK: _around_thinking,
}


def _pattern_cutter(pattern: str) -> Callable[[str], Iterable[int]]:
    compiled = _compiled(pattern)

    def cuts(text: str) -> list[int]:
        try:
            return [match.end() for match in compiled.finditer(text, timeout=REGEX_SECONDS)]
        except (TimeoutError, MemoryError) as error:
            raise ConfigError(
                f"split: regex:{pattern} takes too long on a solution of {len(text)} characters;"
                " make it simpler"
            ) from error

    return cuts


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> Any:
    if not pattern:
        raise ConfigError("split: 'regex:' needs a pattern after the colon, such as regex:\\n+")
    if len(pattern) > MAX_PATTERN or _max_copies(pattern) > MAX_REPEATS:
        raise ConfigError(
            f"split: regex: a pattern may have {MAX_PATTERN} characters"
            f" and {MAX_REPEATS} counted repeats; this one has more"
        )
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, MemoryError, ValueError) as error:
        raise ConfigError(f"split: regex:{pattern} is not a valid pattern: {error}") from error


def _max_copies(pattern: str) -> int:
    """Return how often counted repeats could copy a character if all of them were nested."""
    counts = []
    for least, most in re.findall(r"\{(\d*)(?:,(\d*))?\}", pattern):
        # A repeat of 0 still counts as one copy: it must not hide the other repeats.
        counts.append(int(most or least or 1) or 1)
    return prod(counts)
