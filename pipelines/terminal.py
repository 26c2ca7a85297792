"""Output for a terminal: untrusted text without control characters, and warnings as lines."""

import re
import sys
import warnings
from typing import TextIO

from stepmark.errors import EngineWarning

__all__ = ["show_engine_warnings", "visible"]

# All control characters except tab and line feed, which only lay text out.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""Return the text with its control characters written as `\xNN`.

    Text of models, data sets and servers could otherwise move the cursor or change colours.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def show_engine_warnings() -> None:
    """Print warnings about engines as one line each, as errors are printed."""
    show_other_warning = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, EngineWarning):
            print(f"stepmark: warning: {visible(str(message))}", file=sys.stderr)  # noqa: T201
        else:
            show_other_warning(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    # Each engine warns once about a matter; two engines may warn about the same.
    warnings.simplefilter("always", EngineWarning)
