"""Decide which exceptions show that the tested program is wrong.

Other exceptions may be caused by the sandbox (memory, permissions, recursion depth), by another
version of Python (syntax, attributes), or by code that preceded the program and is not part of it
(names, imports). They do not decide anything.
"""

import builtins

__all__ = ["builtin_exception", "is_program_error"]

PROGRAM_ERRORS = (
    ArithmeticError,
    AssertionError,
    LookupError,
    TypeError,
    UnboundLocalError,
    ValueError,
)
ITERATION_ENDS = (StopIteration, StopAsyncIteration)


def builtin_exception(name: str, text: str = "") -> Exception:
    """Return a built-in exception by name.

    Types that cannot be built from a text are replaced by a base class, and unknown names by
    `Exception`. So are exceptions that end an iteration: a `StopIteration` raised by `f` would end
    `all(map(f, cases))` early, and the test would pass.
    """
    kind = getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return Exception(text)
    if issubclass(kind, ITERATION_ENDS):
        return Exception(text)
    try:
        return kind(text)
    except TypeError:
        # The Unicode errors take five arguments; they are value errors.
        if issubclass(kind, ValueError):
            return ValueError(text)
        return Exception(text)


def is_program_error(error: Exception) -> bool:
    """Return whether the exception shows that the program is wrong."""
    return isinstance(error, PROGRAM_ERRORS)
