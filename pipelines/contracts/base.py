"""Checks and the plugin that they test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepmark import plugins

__all__ = ["Check", "ContractError", "Subject", "require"]


class ContractError(Exception):
    """The plugin breaks its contract; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The plugin under test, with the parameters that it is built with."""

    kind: str
    use: str
    """The id, or the path of the file."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of fields, as texts of the command line."""
    code_folder: Path | None = None

    @property
    def name(self) -> str:
        """The kind and id, as `stepmark list` prints them."""
        return f"{self.kind}.{plugins.id_of(self.use)}"

    def load(self) -> type[Any]:
        """Return the class."""
        return plugins.load(self.kind, self.use, code_folder=self.code_folder)

    def build(self) -> Any:
        """Return a new instance."""
        table = {**self.parameters, "use": self.use}
        return plugins.build(self.kind, table, from_texts=True, code_folder=self.code_folder)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One requirement of a contract."""

    what: str
    """What holds, as a sentence without a subject: "returns one step per step of the trace"."""
    run: Callable[[Subject], None]
    """Raises any exception if it does not hold."""


def require(condition: object, message: str) -> None:
    """Raise `ContractError` with the message, unless the condition holds."""
    if not condition:
        raise ContractError(message)
