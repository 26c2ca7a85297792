"""Environment variables that the benchmarks set as `stepmark` does."""

import os

from pipelines.__main__ import FRUGAL, QUIET

__all__ = ["limit_numpy_threads", "silence_libraries"]


def limit_numpy_threads() -> None:
    """Limit NumPy to the threads that it has in a run, unless the variable is already set.

    NumPy reads the variable when it is imported, so call this before.
    """
    _set_defaults(FRUGAL)


def silence_libraries() -> None:
    """Turn off telemetry and the messages of Prefect and the model libraries, as a run does."""
    _set_defaults(QUIET)


def _set_defaults(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)
