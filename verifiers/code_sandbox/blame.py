"""Which exceptions a program alone can be blamed for.

Others may come of the sandbox (memory, permissions, depth), of another version of Python (syntax, attributes), or of what stood before the
program and was not repeated in it (names, imports): they decide nothing.
"""

import builtins

__all__ = ["exception", "is_blamed"]

BLAMED = (ArithmeticError, AssertionError, LookupError, TypeError, UnboundLocalError, ValueError)
ENDS_OF_ITERATION = (StopIteration, StopAsyncIteration)


def exception(name: str, text: str = "") -> Exception:
    """One of Python's own by its name; some cannot be made of a text, and their like stands for them.

    Not one that ends an iteration: in `all(map(f, cases))` it would pass for the end of the cases.
    """
    kind = getattr(builtins, name, None)
    if (
        not isinstance(kind, type)
        or not issubclass(kind, Exception)
        or issubclass(kind, ENDS_OF_ITERATION)
    ):
        return Exception(text)
    try:
        return kind(text)
    except TypeError:
        return ValueError(text) if issubclass(kind, ValueError) else Exception(text)


def is_blamed(error: Exception) -> bool:
    """Whether it tells of a wrong program."""
    return isinstance(error, BLAMED)
