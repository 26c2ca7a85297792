"""Text of models, data sets and servers, made safe to print.

Control characters can move the cursor of a terminal or change its colours, and others change the
direction or the lines of the text around them, so that a reader sees another text.
"""

import re

__all__ = ["HIDDEN", "one_line", "visible"]

# Without tab and line feed, which only lay text out. The second group has the marks, embeddings,
# overrides and isolates of bidirectional text, the line separators, and the byte order mark.
HIDDEN = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f" + "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""The characters that are not printed, as the content of a character class."""
HIDDEN_CHARACTER = re.compile(f"[{HIDDEN}]")
MAX_BYTE = 0xFF

# A message can quote a name, a reply or a row of any length.
MAX_LINE_CHARS = 4000


def visible(text: str) -> str:
    r"""Return the text with its hidden characters written as `\xNN` or `\uNNNN`.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return HIDDEN_CHARACTER.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= MAX_BYTE else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """Return a text as one visible line, shortened in its middle."""
    line = visible(" ".join(text.split()))
    if len(line) <= MAX_LINE_CHARS:
        return line
    half = MAX_LINE_CHARS // 2
    return f"{line[:half]} … {line[-half:]}"
