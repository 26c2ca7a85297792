"""All errors that Stepmark raises on purpose.

    StepmarkError
    ├── UserError            an error the user can fix: one line, exit status 2, no traceback
    │   ├── ConfigError      a run file or an option has an invalid value
    │   │   └── ContinuationError   a server does not continue answers, which a method needs
    │   ├── PluginError      unknown plugin, or a parameter that the plugin does not have
    │   ├── InputError       an input file or data set cannot be read at all
    │   ├── DatasetError     the dataset folder is missing, damaged or not writable
    │   │   ├── DatasetBusyError   another run is writing into the dataset
    │   │   └── ReplacesError   a run would replace data that cost tokens or human work
    │   ├── BudgetError      a run has used its budget
    │   ├── InstallError     a package is missing, or another distribution owns one of our names
    │   └── WorkerError      worker processes of a run have died
    └── EngineError          a language model did not answer; `retryable` if a retry can help
        └── EngineUnavailableError   no server answers, for longer than the engine waits

A single invalid row is not an error: it becomes a `Rejected` record. A method that fails on one
trace does not raise either: it returns an annotation whose `error` is set. A retryable engine error
never becomes a label: it stops the part, which is retried.

Messages are stored, shown in Prefect and printed, so the URLs in them lose their secrets.
"""

from collections.abc import Mapping
from typing import Any

from stepmark.secrets import redact_urls

__all__ = [
    "BudgetError",
    "ConfigError",
    "ContinuationError",
    "DatasetBusyError",
    "DatasetError",
    "EngineError",
    "EngineUnavailableError",
    "EngineWarning",
    "InputError",
    "InstallError",
    "PluginError",
    "ReplacesError",
    "StepmarkError",
    "UnusedLabelWarning",
    "UserError",
    "WorkerError",
]


class StepmarkError(Exception):
    """Base class of all errors that Stepmark raises on purpose."""

    def __init__(self, message: str = "") -> None:
        super().__init__(redact_urls(message))


class UserError(StepmarkError):
    """An error that the user can fix. The message is one line with the cause and the remedy."""


class ConfigError(UserError):
    """A run file or a command-line option has an invalid value."""


class ContinuationError(ConfigError):
    """A server does not continue an unfinished answer. Methods without rollouts can go on."""


class PluginError(UserError):
    """A plugin does not exist, or does not have the given parameter."""


class InputError(UserError):
    """An input file or data set cannot be read at all."""


class DatasetError(UserError):
    """The dataset folder is missing, damaged or not writable."""


class DatasetBusyError(DatasetError):
    """Another run is writing into the dataset."""


class ReplacesError(DatasetError):
    """A run would replace traces that cost tokens or human work, and was not told to do so."""


class BudgetError(UserError):
    """A run has used its budget; the same run file continues it."""


class InstallError(UserError):
    """A package is missing, or another distribution owns one of our package names."""


class WorkerError(UserError):
    """Worker processes of a run have died: killed, or out of memory."""


class EngineError(StepmarkError):
    """A language model did not answer.

    Attributes:
        retryable: Whether the same request can succeed later.
        completions: The samples of the request that were answered all the same, by their index:
            completions of the engine.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.completions: Mapping[int, Any] = {}


class EngineUnavailableError(EngineError):
    """No server answers, for longer than the engine waits: the run ends, and can be resumed.

    The engine has repeated its requests itself, so no stage repeats them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class EngineWarning(UserWarning):
    """A property of an engine that changes results, and that the user should know."""

    def __init__(self, message: str) -> None:
        super().__init__(redact_urls(message))


class UnusedLabelWarning(UserWarning):
    """Labels by hand, or rows with gold labels, that a function of the Python API did not use."""

    def __init__(self, message: str) -> None:
        super().__init__(redact_urls(message))
