"""Escape control characters before untrusted text is printed on a terminal."""

import re

__all__ = ["visible"]

# All control characters except tab and line feed, which only lay text out.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""Return the text with its control characters written as `\xNN`.

    Text of models, data sets and servers could otherwise move the cursor or change colours.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
