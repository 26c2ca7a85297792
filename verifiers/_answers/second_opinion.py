"""The door to math-verify: a second opinion on two expressions that have been read and bounded here before.

Only its LaTeX extraction is used, which parses with ANTLR; the one for plain expressions hands text to `parse_expr`, which executes it.
Its timeouts are off: the worker has a deadline. What it raises, its own timeout included (a `BaseException`), is no agreement.
"""

import contextlib
import logging
import signal
from collections.abc import Iterator
from functools import cache
from typing import Any

__all__ = ["says_equal"]


def says_equal(one: str, other: str) -> bool:
    """Whether math-verify calls two LaTeX expressions equal, taken either way round: its `verify` is not symmetric."""
    with _without_timer():
        math_verify = _library()
    try:
        a, b = (_parsed(math_verify, text) for text in (one, other))
        return bool(a and b) and any(math_verify.verify(gold, said, timeout_seconds=None) for gold, said in ((a, b), (b, a)))
    except (Exception, math_verify.errors.TimeoutException):  # noqa: BLE001 - it may raise anything about text that a model wrote
        return False


@cache
def _library() -> Any:
    """The library, warm, and without its warning that its timeouts are off."""
    import math_verify.errors

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    _parsed(math_verify, r"\frac{x}{2}")
    return math_verify


def _parsed(math_verify: Any, text: str) -> list[Any]:
    config = math_verify.LatexExtractionConfig()
    parsed = math_verify.parse(f"${text}$", extraction_config=[config], fallback_mode="no_fallback", parsing_timeout=None)
    return list(parsed)


@contextlib.contextmanager
def _without_timer() -> Iterator[None]:
    """The seconds until the library is warm are not the claim's: the worker's timer waits meanwhile."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
