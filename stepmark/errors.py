"""Every error Stepmark raises on purpose.

    StepmarkError
    ├── UserError            something the user can mend: one line, exit status 2, no traceback
    │   ├── ConfigError      a run file or an option says something that cannot be
    │   ├── PluginError      no such plugin, or a parameter it does not have
    │   ├── InputError       a file or a data set that cannot be read at all
    │   ├── DatasetError     the dataset folder is missing, damaged or not writable
    │   └── InstallError     a package is missing, or another distribution owns one of our names
    └── EngineError          a language model did not answer; `retryable` says whether asking again can help

A single bad row is no error: it becomes a `Rejected` record. A method that fails on one trace is no error either: it becomes
an annotation whose `error` is set. A retryable engine error is never turned into a label: it stops the part, which is tried again.
"""

__all__ = [
    "ConfigError",
    "DatasetError",
    "EngineError",
    "InputError",
    "InstallError",
    "PluginError",
    "StepmarkError",
    "UserError",
]


class StepmarkError(Exception):
    """Root of all errors raised on purpose."""


class UserError(StepmarkError):
    """Something the user can mend; the message is one line that says what and how."""


class ConfigError(UserError):
    """A run file or a command-line option says something that cannot be."""


class PluginError(UserError):
    """No such plugin, or a parameter that it does not have."""


class InputError(UserError):
    """A file or a data set that cannot be read at all."""


class DatasetError(UserError):
    """The dataset folder is missing, damaged or not writable."""


class InstallError(UserError):
    """A package is missing, or another distribution owns one of our package names."""


class EngineError(StepmarkError):
    """A language model did not answer."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
