"""Raters: the people who label traces, and the methods of their annotations."""

import re

from stepmark.errors import ConfigError
from storage.dataset.tables import HUMAN

__all__ = ["ADJUDICATED", "ADJUDICATOR", "check_rater", "method_of", "rater_of"]

ADJUDICATOR = "adjudicated"
"""The name under which decisions on disagreements of raters are stored."""
ADJUDICATED = f"{HUMAN}_{ADJUDICATOR}"
"""The method of these decisions."""
MAX_QUOTED_CHARS = 40
_NAME = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


def check_rater(name: str) -> str:
    """Return the name of a rater if it is valid.

    Raises:
        ConfigError: It is not, or it is the name for adjudicated labels.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name[:MAX_QUOTED_CHARS]!a} cannot name a rater; use a-z, 0-9 and -, at most 32"
        )
    if name == ADJUDICATOR:
        raise ConfigError(
            f"'{ADJUDICATOR}' is the name of adjudicated labels: choose another name for a rater"
        )
    return name


def method_of(rater: str) -> str:
    """Return the method of the annotations of a rater.

    >>> method_of("ann-lee")
    'human_ann_lee'
    """
    return f"{HUMAN}_{rater.replace('-', '_')}"


def rater_of(method: str) -> str:
    """Return how pages name the rater of a method.

    >>> rater_of("human_ann_lee"), rater_of("human")
    ('ann_lee', 'human')
    """
    return method.removeprefix(f"{HUMAN}_")
