"""Render formulas as MathML while the site is built.

MathJax, the usual choice, is a script that pages load from a content delivery network. Browsers
display MathML without a script. `pymdownx.arithmatex` finds the formulas and protects them from
Markdown.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

# A formula in `\(...\)` is part of a line (`span`), one in `\[...\]` is a block (`div`).
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **context: Any) -> str:
    """Return a page with its formulas as MathML; MkDocs calls this for every page."""

    def render(match: re.Match[str]) -> str:
        display = "inline"
        if match[1] == "div":
            display = "block"
        # Markdown has escaped characters such as "<" in the formula.
        formula = html.unescape(match[2])
        return convert(formula.strip(), display=display)

    return FORMULA.sub(render, content)
