"""Columns of records, so that a test compares one attribute of many records at once."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

__all__ = ["column"]


def column(records: Iterable[Any], *attributes: str) -> list[Any]:
    """Return an attribute of every record, or a tuple of several attributes.

    An attribute of a nested record has a dotted name, such as "cost.rollouts".
    """
    return list(map(attrgetter(*attributes), records))
