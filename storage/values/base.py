"""The protocol of step values: a formula in SQL whose parameters are the plugin's fields.

Every formula becomes a DuckDB macro with the name of its plugin, `FROM er_prm(eta := 10)`, and a
column of the view `step_values`. It reads the view `estimates`, in which an estimate without
decided trials is NULL, so undecided trials affect no formula.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from stepmark import plugins

__all__ = [
    "KIND",
    "StepValues",
    "arguments",
    "call",
    "macro_statement",
    "macros",
    "missing_macro",
]

KIND = "storage.values"


class StepValues(Protocol):
    """A formula for the values of steps.

    The fields of the plugin are numbers, names of methods, or tuples of names.
    """

    version: ClassVar[int]
    columns: ClassVar[tuple[str, ...]]
    """The columns of the formula in addition to `value`."""
    sql: ClassVar[str]
    """A SELECT with at most one row per step, which refers to the fields by their names.

    Its columns are trace_id, step_index (INTEGER), value (DOUBLE) and `columns`.
    """


def macros() -> Mapping[str, type[StepValues]]:
    """Return all plugins by their names, which are also the names of the macros."""
    return {name: plugins.load(KIND, name) for name in plugins.available(KIND)}


def call(values: StepValues) -> str:
    """Return the SQL call of the macro with the values of the plugin's fields."""
    return f"{_name_of(values)}({arguments(values)})"


def macro_statement(name: str, formula: type[StepValues]) -> str:
    """Return the statement that creates the macro of a formula.

    The default values of the plugin's fields are those of the macro's parameters.
    """
    return f"CREATE OR REPLACE MACRO {name}({arguments(formula())}) AS TABLE {formula.sql}"


def missing_macro(values: StepValues) -> str:
    """Return the statement that creates the macro of a formula, if it is from a plugin file.

    All other macros exist already; "" for these.
    """
    name = _name_of(values)
    return "" if name in plugins.available(KIND) else macro_statement(name, type(values))


def arguments(values: StepValues) -> str:
    """Return the values of the plugin's fields as named SQL arguments."""
    fields = dataclasses.fields(values)  # type: ignore[arg-type]  # a plugin is a dataclass
    return ", ".join(f"{field.name} := {_literal(getattr(values, field.name))}" for field in fields)


def _name_of(values: StepValues) -> str:
    kind_and_id = plugins.kind_and_id_of(type(values))
    assert kind_and_id is not None, "a formula is a plugin"
    return kind_and_id[1]


def _literal(value: str | float | Sequence[str]) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | float):
        # Without the cast, DuckDB would read 0.5 as a DECIMAL, which has other arithmetic.
        return f"{float(value)!r}::DOUBLE"
    return f"[{', '.join(map(_literal, value))}]::VARCHAR[]"
