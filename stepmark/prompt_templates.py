"""Prompt templates: text files with `{name}` places, filled in one pass so that hostile text is never read as a template."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from stepmark.errors import ConfigError

__all__ = ["fill", "placeholders_in", "read_template"]

# Behind a letter stands an argument of LaTeX's, as in \boxed{answer}, and no place.
PLACE = re.compile(r"(?<![A-Za-z])\{([a-z_]+)\}")


def read_template(name_or_path: str, shipped: Path, places: Collection[str]) -> str:
    """A shipped template by its name, or the user's own by its path; every place in it must be one of `places`."""
    own, ours = Path(name_or_path), shipped / f"{name_or_path}.txt"
    known = sorted(path.stem for path in shipped.glob("*.txt"))
    path = ours if name_or_path in known else own
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no prompt '{name_or_path}': give the path of a text file, or one of: {', '.join(known)}"
        ) from error
    for place in placeholders_in(template):
        if place not in places:
            raise ConfigError(
                f"prompt {path}: unknown place {{{place}}}; it may use: {', '.join(f'{{{p}}}' for p in places)}"
            )
    return template


def placeholders_in(template: str) -> Sequence[str]:
    """The names of the places in a template, as they come.

    >>> placeholders_in("{question} {steps} {x 1}")
    ['question', 'steps']
    """
    return PLACE.findall(template)


def fill(template: str, **values: str) -> str:
    """The template with every place that has a value filled; braces elsewhere stay as they are.

    >>> fill("Problem: {question} {x}", question="{steps}?", steps="no")
    'Problem: {steps}? {x}'
    """
    return PLACE.sub(lambda place: values.get(place[1], place[0]), template)
