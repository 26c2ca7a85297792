r"""Split a solution into steps without losing a byte: `"".join(split(text, how)) == text`, always.

    line         after each line break
    blank_line   after each run of blank lines
    numbered     before each line that begins with "Step 2", "2." or "2)", also behind Markdown's
                 ** or ###
    sentence     after each sentence and each run of blank lines, never within mathematics
                 ($…$, $$…$$, \(…\), \[…\])
    regex:…      after each match of the user's pattern, which matches separators: a separator
                 stays with the step before it

Steps are never empty, and whitespace alone is not a step: it stays with the step before it, or at
the start with the step after it. A text of nothing but whitespace is one step.

Steps that are given as a list are joined to one text, and separated again, without loss either.

What is not covered: code blocks, HTML, and the full stops of languages that do not write "." "!"
or "?".
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

__all__ = [
    "SEPARATOR",
    "SPLIT_METHODS",
    "VERSION",
    "Splitter",
    "append_separator",
    "remove_separator",
    "split",
    "validate",
]

SPLIT_METHODS = ("line", "blank_line", "numbered", "sentence", "regex:PATTERN")

# Increment when a text is cut at other places: existing traces are then made again.
VERSION = 1
SEPARATOR = "step_separator"
"""The key in a trace's metadata under which the separator of `append_separator` is stored."""
PARAGRAPH_BREAK = "\n\n"
REGEX_PREFIX = "regex:"
# Seconds of processor time for all matches of the user's pattern in one text. Much more than needed
# (1 MB takes 0.01 s), so that the cuts do not depend on the speed of the machine: a pattern that
# exceeds the limit stops the run.
REGEX_SECONDS = 5.0
# `regex` unrolls counted repeats while it compiles, without a limit: (a{999}){999} takes 273 MB.
MAX_PATTERN = 500
MAX_REPEATS = 1000


def split(text: str, how: str) -> tuple[str, ...]:
    r"""Split the text into steps.

    Args:
        text: A solution.
        how: One of `SPLIT_METHODS`.

    Raises:
        ConfigError: `how` is not a split method, or its pattern is invalid or too slow.

    >>> split("Step 1: 2 + 2 = 4\n\nStep 2: 4 / 2 = 2", "line")
    ('Step 1: 2 + 2 = 4\n\n', 'Step 2: 4 / 2 = 2')
    """
    if how == "line":
        # A run splits every rollout, mostly like this. This takes half of the time, and few texts
        # have blank lines.
        lines = _LINE.findall(text)
        if not any(map(str.isspace, lines)):
            return tuple(lines)
    return tuple(_pieces(text, _cutter(how)(text)))


@dataclass(frozen=True)
class Splitter:
    """A function that splits solutions into steps by one of `SPLIT_METHODS`.

    Raises:
        ConfigError: `how` is not a split method, or its pattern is invalid.
    """

    how: str

    def __post_init__(self) -> None:
        validate(self.how)

    def __call__(self, text: str) -> tuple[str, ...]:
        """Return the steps of a solution; see `split`."""
        return split(text, self.how)


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
_NUMBER = re.compile(
    r"^[^\S\n]*+(?:#{1,6}[^\S\n]++)?(?:\*\*|__)?"
    r"(?:step[^\S\n]++\d{1,4}\b|\d{1,4}[.)](?=[\s*_]|$))",
    re.MULTILINE | re.IGNORECASE,
)


def _after_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _NEW_LINE.finditer(text))


def _after_blank_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _BLANK_LINES.finditer(text))


def _before_numbers(text: str) -> Iterator[int]:
    return (match.start() for match in _NUMBER.finditer(text))


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
    | (?P<stop> [.!?]++ ["'”’)\]*_]*+ )
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


def _after_sentences(text: str) -> Iterator[int]:
    # Tokens of mathematics and escaped characters yield no cut: they only hide their full stops.
    for token in _SENTENCE_TOKEN.finditer(text):
        if token["blank"]:
            yield token.end()
        elif token["stop"] and _ends_sentence(text, token.start(), token.end()):
            gap = _GAP.match(text, token.end())
            yield gap.end() if gap else token.end()


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """Check that the stop between `start` and `end` ends a sentence."""
    following = text[end : end + 1]
    if following and not following.isspace():
        return False
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
