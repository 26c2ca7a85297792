"""Rendering of templates: every text is escaped, and its hidden characters are written out."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from stepmark.visible_text import visible

__all__ = ["compile_templates", "render", "render_text"]

NOT_DEFINED = "–"
# A longer text is folded: a page must not scroll for minutes past one of its steps.
FOLDED_CHARS = 4000


def render_text(name: str, context: Mapping[str, Any]) -> Markup:
    """Return the HTML of a template.

    Args:
        name: The template.
        context: Its variables.
    """
    return Markup(_environment().get_template(name).render(context))


def compile_templates() -> None:
    """Compile all templates, which takes a part of a second in the first request otherwise."""
    environment = _environment()
    for name in environment.list_templates():
        environment.get_template(name)


def render(name: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Return a page from a template as the answer to a request; see `render_text`."""
    text = render_text(name, context)
    # The state of a dataset can change between two requests.
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = _count
    environment.filters["percent"] = _percent
    environment.filters["decimal"] = _decimal
    environment.filters["brief"] = _brief
    environment.filters["folded"] = _folded
    environment.filters["href"] = _href
    environment.globals["parts"] = environment.get_template("_parts.html").module
    return environment


def _visible(value: object) -> object:
    """Write the hidden characters of a text out; markup of a template stays as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _count(value: float) -> str:
    """Return a number with spaces between groups of three digits."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _percent(share: float | None) -> str:
    if share is None:
        return NOT_DEFINED
    return f"{100 * share:.1f} %"


def _decimal(value: float | None) -> str:
    if value is None:
        return NOT_DEFINED
    return f"{value:.2f}"


def _brief(value: float) -> str:
    """Return a number with a suffix, for tables."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.1f} {suffix}"
    return f"{value:.0f}"


def _href(address: str) -> Markup:
    """Return the attribute of a link; none without an address, which leaves plain text."""
    if not address:
        return Markup("")
    return Markup(' href="{}"').format(escape(address))


def _folded(text: str) -> tuple[str, str]:
    """Return the beginning of a text, and the rest of a long one, without empty lines around it."""
    text = text.strip("\n")
    return text[:FOLDED_CHARS], text[FOLDED_CHARS:]
