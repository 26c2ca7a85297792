"""File systems of libraries, whose exceptions become `OSError`.

Clients of buckets and hubs raise exceptions of many types, and a caller would have to know all of
them.
"""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from stepmark.errors import StepmarkError

__all__ = ["Translated", "reason_of"]


class Translated:
    """A file system or an open file of fsspec whose methods raise no other error than `OSError`."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return _translated(value) if callable(value) else value

    def __enter__(self) -> Self:
        _translated(self._target.__enter__)()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _translated(self._target.__exit__)(kind, error, trace)


def reason_of(error: Exception) -> str:
    """Return the reason of an error of a library in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).partition("\n")[0].split()) or type(error).__name__


def _translated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function, updated=())
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            result = function(*arguments, **named)
        except (OSError, StepmarkError):
            raise
        except Exception as error:
            raise OSError(reason_of(error)) from error
        # Only files are contexts among what file systems return.
        return Translated(result) if hasattr(result, "__enter__") else result

    return call
