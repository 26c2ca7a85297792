"""Output for a terminal: warnings as lines. Untrusted text is printed as `visible` text."""

import sys
import warnings
from typing import TextIO

from stepmark.errors import EngineWarning
from stepmark.visible_text import visible

__all__ = ["show_engine_warnings"]


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
