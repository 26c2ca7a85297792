"""Waits before a request is repeated: exponential, with full jitter, or as long as a server asks.

Full jitter spreads the requests that failed together over the whole wait ("Exponential Backoff And
Jitter", AWS Architecture Blog, 2015).
"""

import email.utils
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC

__all__ = ["full_jitter", "read_retry_after"]

FIRST_WAIT_SECONDS = 0.5
# 2**60 seconds are longer than any limit; a larger exponent would overflow.
MAX_DOUBLINGS = 60
MILLISECONDS = 1000.0


def full_jitter(attempt: int, limit: float) -> float:
    """Return a random wait in seconds.

    Args:
        attempt: How many waits came before; each doubles the longest possible wait.
        limit: The longest possible wait after many attempts.
    """
    longest = min(limit, FIRST_WAIT_SECONDS * 2.0 ** min(attempt, MAX_DOUBLINGS))
    return random.uniform(0.0, longest)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in `Retry-After` or `Retry-After-Ms`; None without a valid value.

    `Retry-After` is a number of seconds or an HTTP date (RFC 9110, section 10.2.3). A date is by
    the clock of the server, which `Date` tells.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / MILLISECONDS
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    date = _timestamp(value)
    if date is None:
        return None
    now = _timestamp(headers.get("date"))
    return max(0.0, date - (time.time() if now is None else now))


def _timestamp(value: str | None) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(value or "")
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)  # as all HTTP dates are
    return date.timestamp()


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
