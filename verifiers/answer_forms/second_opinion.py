"""A wrapper around math-verify: a second opinion on two expressions that are already bounded.

Only its LaTeX extraction is used, which parses with ANTLR. The extraction of plain expressions
passes text to `parse_expr`, which executes it. The timeouts of math-verify are disabled, since the
worker process has a deadline. Every exception, including its own timeout (a `BaseException`), is a
disagreement.
"""

import contextlib
import logging
import signal
from collections.abc import Iterator
from functools import cache, partial
from typing import Any


def says_equal(left: str, right: str) -> bool:
    """Return whether math-verify, which is not symmetric, finds LaTeX equal in either order."""
    with _paused_timer():
        math_verify = _library()
    try:
        a = _parse(math_verify, left)
        b = _parse(math_verify, right)
        verify = partial(math_verify.verify, timeout_seconds=None)
        return bool(a and b) and bool(verify(a, b) or verify(b, a))
    except (Exception, math_verify.errors.TimeoutException):  # noqa: BLE001 - raises anything
        return False


@cache
def _library() -> Any:
    """Return the library after a first parse, without its warning about disabled timeouts."""
    import math_verify.errors

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    _parse(math_verify, r"\frac{x}{2}")
    return math_verify


def _parse(math_verify: Any, text: str) -> list[Any]:
    parsed = math_verify.parse(
        f"${text}$",
        extraction_config=[math_verify.LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return list(parsed)


@contextlib.contextmanager
def _paused_timer() -> Iterator[None]:
    """Pause the timer of the worker, because loading the library does not belong to a claim."""
    # Windows has no interval timers.
    if not hasattr(signal, "setitimer"):
        yield
        return
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
