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

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **context: Any) -> str:
    """Return a page with its formulas as MathML; MkDocs calls this for every page."""

    def render(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]).strip(), display=display)

    return FORMULA.sub(render, content)
