"""Plugins: the file name is the id.

In a plugin room every module is a plugin, save `base` and those whose name starts with an underscore. It exports exactly one frozen
dataclass, its only name in `__all__`: the fields are its parameters, `version` is bumped whenever its results change.
"""

import ast
import dataclasses
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepmark.errors import InstallError, PluginError

__all__ = ["ROOMS", "available", "build", "describe", "load"]

ROOMS = ("problems", "problems.shapes", "engines", "verifiers", "annotators", "filters", "storage.formats", "storage.values")


def available(room: str) -> tuple[str, ...]:
    """The ids of a room's plugins, sorted; nothing is imported but the room itself."""
    names = (m.name for m in pkgutil.iter_modules(importlib.import_module(room).__path__) if not m.ispkg)
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


def describe(room: str) -> Mapping[str, str]:
    """Each plugin's id and the first line of its module's docstring, read without importing the plugin."""
    return {name: _first_line(f"{room}.{name}") for name in available(room)}


def load(room: str, name: str) -> type[Any]:
    """The dataclass that plugin `name` of `room` exports; `PluginError` says what exists when there is none."""
    if name not in available(room):
        raise PluginError(f"{room} has no '{name}'; it has: {', '.join(available(room))}")
    try:
        module = importlib.import_module(f"{room}.{name}")
    except ModuleNotFoundError as error:
        raise InstallError(f"{room}.{name} needs the package '{error.name}', which is not installed") from error
    exported = list(getattr(module, "__all__", ()))
    if len(exported) != 1:
        raise PluginError(f"{room}.{name} must export exactly one class in __all__; it exports {exported}")
    plugin: type[Any] = getattr(module, exported[0])
    return plugin


def build(room: str, table: Mapping[str, Any]) -> Any:
    """Make the plugin that a run file's table names: `use` is its id, every other key one of its fields."""
    if "use" not in table:
        raise PluginError(f"a table for {room} needs `use = …`, one of: {', '.join(available(room))}")
    name = str(table["use"])
    plugin = load(room, name)
    given = {key: value for key, value in table.items() if key != "use"}
    _refuse_unknown(f"{room}.{name}", given, plugin)
    # Imported late: what only lists plugins, or loads one, starts without it in half the time.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(plugin).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its fields"
        raise PluginError(f"{room}.{name}: {where}: {first['msg']}") from error


def _refuse_unknown(plugin_id: str, given: Mapping[str, Any], plugin: type[Any]) -> None:
    known = [f.name for f in dataclasses.fields(plugin) if f.init]
    for key in given:
        if key not in known:
            raise PluginError(f"{plugin_id} has no parameter '{key}'; it has: {', '.join(known) or 'none'}")


def _first_line(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]
