"""Text of models, datasets and run files in Markdown: as code, which it cannot end."""

import re
from collections.abc import Iterable, Sequence

from stepmark.secrets import redact_urls
from stepmark.visible_text import visible

__all__ = ["code_span", "fenced", "table"]

# The maximum number of characters of a code span.
MAX_SPAN_CHARS = 200


def code_span(text: str) -> str:
    """Return the text as an inline code span: one line of at most `MAX_SPAN_CHARS` characters."""
    line = visible(redact_urls(" ".join(text.split())))[:MAX_SPAN_CHARS] or "(empty)"
    if "`" not in line:
        return f"`{line}`"
    # Markdown: a code span ends at the next run of as many backticks as it began with.
    ticks = "`" * (_longest_run_of_backticks([line]) + 1)
    return f"{ticks} {line} {ticks}"


def fenced(text: str, language: str) -> str:
    """Return the text in a fence that is longer than any run of backticks in it.

    The beginnings of HTML comments are escaped, because comments mark the sections of a card.
    """
    text = visible(text).replace("<!--", r"<\x21--")
    fence = "`" * max(3, _longest_run_of_backticks(text.splitlines()) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells contain no text of models or datasets."""
    lines = [_table_row(header), _table_row(["---"] * len(header))]
    for row in rows:
        lines.append(_table_row(row))
    return "\n".join(lines)


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _longest_run_of_backticks(lines: Iterable[str]) -> int:
    longest = 0
    for line in lines:
        for run in re.findall("`+", line):
            longest = max(longest, len(run))
    return longest
