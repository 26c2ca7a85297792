"""What values of steps are: a formula in SQL whose parameters are the plugin's fields.

Each becomes a DuckDB macro of the same name, `FROM er_prm(eta := 10)`, and a column of the view `step_values`. It reads the view
`estimates`, in which an estimate without decided trials is NULL: what is unknown leaves both sides of a formula.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from stepmark import plugins

__all__ = ["ROOM", "StepValues", "arguments", "call", "macros"]

ROOM = "storage.values"


class StepValues(Protocol):
    """Values of steps; its fields are numbers, names of methods, or tuples of them."""

    version: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]
    """What the formula gives beside `value`."""
    sql: ClassVar[str]
    """A SELECT of trace_id, step_index (INTEGER), value (DOUBLE) and `columns`, at most one row a step; the fields stand in it by name."""


def macros() -> Mapping[str, type[StepValues]]:
    """Every plugin by its name, which is its macro's."""
    return {name: plugins.load(ROOM, name) for name in plugins.available(ROOM)}


def call(values: StepValues) -> str:
    """The macro's call with the plugin's fields."""
    name = type(values).__module__.rpartition(".")[2]
    return f"{name}({arguments(values)})"


def arguments(values: StepValues) -> str:
    """The plugin's fields as named arguments."""
    fields = dataclasses.fields(values)  # type: ignore[arg-type]  # a plugin is a dataclass
    return ", ".join(f"{field.name} := {_literal(getattr(values, field.name))}" for field in fields)


def _literal(value: str | float | Sequence[str]) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | float):
        return f"{float(value)!r}::DOUBLE"
    return f"[{', '.join(map(_literal, value))}]::VARCHAR[]"
