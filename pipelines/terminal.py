"""Output for a terminal: warnings as lines. Untrusted text is printed as `visible` text."""

import select
import sys
import warnings
from typing import IO, TextIO

from stepmark.errors import EngineWarning
from stepmark.visible_text import visible

__all__ = ["is_writable", "show_engine_warnings"]


def is_writable(stream: IO[str], seconds: float = 0.0) -> bool:
    """Return whether a line can be written without blocking, after waiting for at most a time.

    A write blocks if a terminal is paused (Ctrl-S), or the reader of a full pipe reads no more.
    """
    try:
        return bool(select.select([], [stream], [], seconds)[1])
    except ValueError:
        return True  # it is in memory, and has no descriptor


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
