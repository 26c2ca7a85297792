"""Plugins: the file name is the id.

Every module of a plugin package is a plugin, except `base` and modules whose name starts with an
underscore. A plugin module exports exactly one frozen dataclass, its only name in `__all__`: the
fields are its parameters, and `version` is raised whenever its results change.
"""

import ast
import dataclasses
import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepmark.errors import InstallError, PluginError

__all__ = ["PLUGIN_PACKAGES", "available", "build", "describe", "identity_of", "load"]

PLUGIN_PACKAGES: Mapping[str, str] = {
    "problems": "problems.sources",
    "problems.shapes": "problems.solution_formats",
    "engines": "engines",
    "verifiers": "verifiers",
    "annotators": "annotators.methods",
    "labelers": "annotators.labelers",
    "filters": "filters",
    "storage.formats": "storage.formats",
    "storage.values": "storage.values",
}
"""The package that holds the plugins of each kind."""

# Characters of a name that an error message quotes.
QUOTED_CHARACTERS = 100
IDENTITY_NAMESPACES: Mapping[str, str] = {"labelers": "annotators"}
"""Kinds with another name in fingerprints, so that datasets of earlier versions stay valid."""


def available(kind: str) -> tuple[str, ...]:
    """Return the sorted ids of the plugins of a kind, without importing the plugins."""
    package = importlib.import_module(PLUGIN_PACKAGES[kind])
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


def describe(kind: str) -> Mapping[str, str]:
    """Return the first docstring line of every plugin by id, without importing the plugins."""
    return {name: _first_line(_module(kind, name)) for name in available(kind)}


def load(kind: str, name: str) -> type[Any]:
    """Return the dataclass that plugin `name` exports.

    Raises:
        PluginError: No plugin of this kind has that name; the message lists the existing ones.
        InstallError: The plugin imports a package that is not installed.
    """
    if name not in available(kind):
        shown = name[:QUOTED_CHARACTERS]
        raise PluginError(f"{kind} has no '{shown}'; it has: {', '.join(available(kind))}")
    try:
        module = importlib.import_module(_module(kind, name))
    except ModuleNotFoundError as error:
        raise InstallError(
            f"{kind}.{name} needs the package '{error.name}', which is not installed"
        ) from error
    exported = list(getattr(module, "__all__", ()))
    if len(exported) != 1:
        raise PluginError(
            f"{kind}.{name} must export exactly one class in __all__; it exports {exported}"
        )
    plugin: type[Any] = getattr(module, exported[0])
    return plugin


def build(kind: str, table: Mapping[str, Any], *, from_texts: bool = False) -> Any:
    """Build the plugin that a table of a run file describes.

    Args:
        kind: A key of `PLUGIN_PACKAGES`.
        table: `use` is the plugin's id, every other key is one of its fields.
        from_texts: Whether the values are texts of the command line, also those of numbers.

    Raises:
        PluginError: `use` is missing or unknown, or a field is unknown or has an invalid value.
    """
    if "use" not in table:
        raise PluginError(
            f"a table for {kind} needs `use = …`, one of: {', '.join(available(kind))}"
        )
    name = table["use"]
    if not isinstance(name, str):
        raise PluginError(f"a table for {kind}: use is the id of a plugin, a text")
    plugin = load(kind, name)
    parameters = {key: value for key, value in table.items() if key != "use"}
    _reject_unknown_fields(f"{kind}.{name}", parameters, plugin)
    # Pydantic is imported late: it takes half of the start-up time of a command that lists plugins.
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(plugin)
    try:
        if from_texts:
            return adapter.validate_python(parameters)
        # As JSON, in which lists are tuples and texts are choices, but `true` and "4" no numbers.
        return adapter.validate_json(json.dumps(parameters), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its fields"
        raise PluginError(f"{kind}.{name}: {where}: {first['msg']}") from error


def identity_of(plugin: type[Any]) -> str:
    """Return the name of a plugin class in fingerprints: its kind and id, not its module path.

    Modules can move without changing the fingerprints of existing datasets. A class outside the
    plugin packages is identified by its module.
    """
    package, _, name = plugin.__module__.rpartition(".")
    for kind, plugin_package in PLUGIN_PACKAGES.items():
        if package == plugin_package:
            return f"{IDENTITY_NAMESPACES.get(kind, kind)}.{name}"
    return plugin.__module__


def _module(kind: str, name: str) -> str:
    return f"{PLUGIN_PACKAGES[kind]}.{name}"


def _reject_unknown_fields(
    plugin_id: str, parameters: Mapping[str, Any], plugin: type[Any]
) -> None:
    fields = [field.name for field in dataclasses.fields(plugin) if field.init]
    for key in parameters:
        if key not in fields:
            listing = ", ".join(fields) or "none"
            shown = key[:QUOTED_CHARACTERS]
            raise PluginError(f"{plugin_id} has no parameter '{shown}'; it has: {listing}")


def _first_line(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]
