"""Prompt templates: text files with placeholders such as `{question}`.

All placeholders are filled in one pass, so that inserted text is never read as a template.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from stepmark.errors import ConfigError

__all__ = ["fill", "placeholders_in", "read_template"]

# After a letter, braces hold an argument of a LaTeX command, as in \boxed{answer}.
PLACEHOLDER = re.compile(r"(?<![A-Za-z])\{([a-z_]+)\}")


def read_template(name_or_path: str, shipped: Path, places: Collection[str]) -> str:
    """Read a shipped template by its name, or the user's own template by its path.

    Args:
        name_or_path: The stem of a file in `shipped`, or the path of a text file.
        shipped: The folder of the templates that are part of the package.
        places: The placeholders that the template may contain.

    Raises:
        ConfigError: The template cannot be read, or it contains another placeholder.
    """
    shipped_names = sorted(path.stem for path in shipped.glob("*.txt"))
    path = Path(name_or_path)
    if name_or_path in shipped_names:
        path = shipped / f"{name_or_path}.txt"
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no prompt '{name_or_path}': give the path of a text file,"
            f" or one of: {', '.join(shipped_names)}"
        ) from error
    for name in placeholders_in(template):
        if name not in places:
            allowed = ", ".join(f"{{{placeholder}}}" for placeholder in places)
            raise ConfigError(
                f"prompt {path}: unknown placeholder {{{name}}}; it may use: {allowed}"
            )
    return template


def placeholders_in(template: str) -> Sequence[str]:
    """Return the names of the placeholders in a template, in order, with repetitions.

    >>> placeholders_in("{question} {steps} {x 1}")
    ('question', 'steps')
    """
    return _parts(template)[1::2]


def fill(template: str, **values: str) -> str:
    """Replace every placeholder that has a value; other braces stay as they are.

    >>> fill("Problem: {question} {x}", question="{steps}?", steps="no")
    'Problem: {steps}? {x}'
    """
    texts = list(_parts(template))
    for index in range(1, len(texts), 2):
        name = texts[index]
        texts[index] = values.get(name, f"{{{name}}}")
    return "".join(texts)


# A process fills a few templates, each of them once for every trace.
@lru_cache(maxsize=64)
def _parts(template: str) -> Sequence[str]:
    """Return the texts of a template and, between them, the names of its placeholders."""
    return tuple(PLACEHOLDER.split(template))
