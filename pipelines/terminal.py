"""Text of models, data sets and servers on a terminal: what would steer it is shown instead."""

import re

__all__ = ["visible"]

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""The text with control characters but tabs and line breaks written out.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
