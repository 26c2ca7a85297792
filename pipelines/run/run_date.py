"""`{date}` in a run file: the day of a run, so that a nightly job writes a dataset each night."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stepmark.errors import ConfigError

__all__ = ["DATE", "date_in", "has_date", "parse_date", "with_date"]

DATE = "{date}"
"""What the date replaces, as YYYY-MM-DD: digits and hyphens, so that no other folder is meant."""

# The keys of [problems] that name files, folders or data sets.
PATH_KEYS = ("paths", "name", "config", "split", "revision")
# A name in braces, with or without a format. Globs such as {a,b} are none.
PLACEHOLDER = re.compile(r"\{\s*[A-Za-z_]\w*\s*(?:[:!.\[][^}]*)?\}")


def with_date(raw: Mapping[str, Any], day: date, file_name: str) -> dict[str, Any]:
    """Return the tables of a run file with the date in `dataset` and in the paths of problems.

    Raises:
        ConfigError: `dataset` or a path has another placeholder, which nothing replaces.
    """
    dated = dict(raw)
    if "dataset" in raw:
        dated["dataset"] = _dated(raw["dataset"], day, f"{file_name}: dataset")
    problems = raw.get("problems")
    if isinstance(problems, Mapping):
        dated_problems = dict(problems)
        for key in PATH_KEYS:
            if key in problems:
                place = f"{file_name}: problems.{key}"
                dated_problems[key] = _dated(problems[key], day, place)
        dated["problems"] = dated_problems
    return dated


def has_date(raw: Mapping[str, Any]) -> bool:
    """Return whether every day has its own dataset."""
    return DATE in str(raw.get("dataset", ""))


def date_in(timezone: str, moment: datetime | None) -> date:
    """Return the date in a time zone, at a moment or now.

    Raises:
        ConfigError: There is no such time zone.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"'{timezone}' is not a time zone; write it as Europe/Berlin or UTC"
        ) from error
    return (moment or datetime.now(zone)).astimezone(zone).date()


def parse_date(text: str) -> date:
    """Return the date of a text YYYY-MM-DD.

    Raises:
        ConfigError: It is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a date; write it as 2026-12-31") from error


def _dated(value: Any, day: date, place: str) -> Any:
    """Return a text, or a list of texts, with the date; other values as they are."""
    if isinstance(value, list | tuple):
        return [_dated(item, day, place) for item in value]
    if not isinstance(value, str):
        return value
    dated = value.replace(DATE, day.isoformat())
    other = PLACEHOLDER.search(dated)
    if other is not None:
        raise ConfigError(f"{place}: {other[0]} is not replaced; only {DATE} is")
    return dated
