r"""Cutting a solution into steps without losing a byte: `"".join(split(text, how)) == text`, always.

    line         after each line break
    blank_line   after each run of blank lines
    numbered     before each line that opens with "Step 2", "2." or "2)" (Markdown's ** and ### in front are seen through)
    sentence     after each sentence and each run of blank lines, never within mathematics ($…$, $$…$$, \(…\), \[…\])
    regex:…      after each match of a pattern of your own: it matches separators, and a separator stays with the step before it

Steps are never empty, and whitespace on its own is no step: it stays with the step before it (at the start, with the step after it).
Text that is nothing but whitespace is one step, as there is no neighbour to give it to. Not covered: code blocks, HTML, and the
full stops of languages that do not write "." "!" or "?".

Steps that come as a list are joined to a text, and taken apart again, without losing a byte either.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any

# `re` has no deadline: a pattern that backtracks would hold the event loop for good. `regex` comes with Prefect (via dateparser).
import regex  # type: ignore[import-untyped]

from stepmark.errors import ConfigError

__all__ = ["HOWS", "SEPARATOR", "VERSION", "joinable", "listed", "split", "validate"]

HOWS = ("line", "blank_line", "numbered", "sentence", "regex:PATTERN")

VERSION = 1  # raised whenever a text is cut elsewhere: traces cut before are stale then
SEPARATOR = "step_separator"
"""The name under which a trace's metadata keep what `joinable` put behind its steps."""
PARAGRAPH_BREAK = "\n\n"
REGEX_PREFIX = "regex:"
# Seconds of processor time for all matches of the user's pattern in one text. Far above need (1 MB takes 0.01 s), so that a slow
# machine never changes where a text is cut: a pattern that exceeds it stops the run.
REGEX_SECONDS = 5.0
# `regex` unrolls counted repeats while it compiles, without a limit of its own: (a{999}){999} takes 273 MB.
MAX_PATTERN = 500
MAX_REPEATS = 1000


def split(text: str, how: str) -> tuple[str, ...]:
    r"""Cut the text where `how` says; `ConfigError` when `how` cannot be used.

    >>> split("Step 1: 2 + 2 = 4\n\nStep 2: 4 / 2 = 2", "line")
    ('Step 1: 2 + 2 = 4\n\n', 'Step 2: 4 / 2 = 2')
    """
    return tuple(_pieces(text, _cutter(how)(text)))


def joinable(given: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Listed steps so that joined they are a text again, and what was put behind each but the last for that.

    Where no step but the last ends in a line break the list holds paragraphs, which get their blank lines back; else nothing is added.
    """
    *before, last = given
    separator = "" if any(step.endswith("\n") for step in before) else PARAGRAPH_BREAK
    return (*(step + separator for step in before), last), separator


def listed(steps: Sequence[str], separator: str) -> list[str]:
    """The steps as they were before `separator` was put behind each but the last."""
    return [*(step.removesuffix(separator) for step in steps[:-1]), *steps[-1:]]


def validate(how: str) -> None:
    """Raise `ConfigError` unless `how` is one of `HOWS` with a usable pattern."""
    _cutter(how)


def _cutter(how: str) -> Callable[[str], Iterable[int]]:
    if how.startswith(REGEX_PREFIX):
        return _pattern_cutter(how.removeprefix(REGEX_PREFIX))
    if how not in _CUTTERS:
        raise ConfigError(
            f"split: no way of splitting called '{how}'; there are: {', '.join(HOWS)}"
        )
    return _CUTTERS[how]


def _pieces(text: str, cuts: Iterable[int]) -> Iterator[str]:
    """Cut the text at ascending positions; a piece of nothing but whitespace is given to the piece before it."""
    begin = end = 0
    for cut in (*cuts, len(text)):
        blank = text[end:cut].isspace() or cut == end
        if not blank and not text[begin:end].isspace() and end > begin:
            yield text[begin:end]
            begin = end
        end = cut
    if end > begin:
        yield text[begin:end]


_NEW_LINE = re.compile(r"\n")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*+\n)+")
_NUMBER = re.compile(
    r"^[^\S\n]*+(?:#{1,6}[^\S\n]++)?(?:\*\*|__)?(?:step[^\S\n]++\d{1,4}\b|\d{1,4}[.)](?=[\s*_]|$))",
    re.MULTILINE | re.IGNORECASE,
)


def _after_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _NEW_LINE.finditer(text))


def _after_blank_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _BLANK_LINES.finditer(text))


def _before_numbers(text: str) -> Iterator[int]:
    return (match.start() for match in _NUMBER.finditer(text))


# Alternatives either exclude their own opener or are possessive, so that no character is read more than a few times. A `$` is
# mathematics under Pandoc's rule (nothing blank inside either `$`, no digit after the second): "$5. He has $6" is money.
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
# Between sentences: up to the last line break, or else the spaces.
_GAP = re.compile(r"\s*\n|[^\S\n]*")
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
# These may also close a sentence: they do where the next word has a capital.
_MAYBE_ABBREVIATIONS = frozenset(
    ("a.m", "al", "etc", "ft", "hr", "in", "lb", "min", "no", "oz", "p.m", "sec", "u.k", "u.s")
)


def _after_sentences(text: str) -> Iterator[int]:
    for token in _SENTENCE_TOKEN.finditer(text):
        if token["blank"]:
            yield token.end()
        elif token["stop"] and _ends_sentence(text, token.start(), token.end()):
            gap = _GAP.match(text, token.end())
            yield gap.end() if gap else token.end()


def _ends_sentence(text: str, start: int, end: int) -> bool:
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
    window = text[max(0, position - _LONGEST_WORD) : position]
    words = window.split()
    return words[-1].lstrip("([{\"'*_“‘") if words and not window[-1].isspace() else ""


def _is_list_number(text: str, word: str, position: int) -> bool:
    """Whether the full stop is that of "2. " at the start of a line."""
    line_start = text.rfind("\n", max(0, position - _LONGEST_WORD), position) + 1
    reaches = line_start > 0 or position <= _LONGEST_WORD
    return reaches and word.isdigit() and text[line_start:position].strip(" \t*#_") == word


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
                f"split: regex:{pattern} gets lost in a solution of {len(text)} characters; make it simpler"
            ) from error

    return cuts


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> Any:
    if not pattern:
        raise ConfigError("split: 'regex:' needs a pattern behind the colon, such as regex:\\n+")
    if len(pattern) > MAX_PATTERN or _repeats(pattern) > MAX_REPEATS:
        raise ConfigError(
            f"split: regex: a pattern may have {MAX_PATTERN} characters and {MAX_REPEATS} counted repeats; this one has more"
        )
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, MemoryError, ValueError) as error:
        raise ConfigError(f"split: regex:{pattern} is not a valid pattern: {error}") from error


def _repeats(pattern: str) -> int:
    """How often counted repeats could copy a character, were they all nested."""
    return prod(
        int(most or least or 1) or 1 for least, most in re.findall(r"\{(\d*)(?:,(\d*))?\}", pattern)
    )
