"""Plugins: the file name is the id.

Every module of a plugin package is a plugin, except `base` and modules whose name starts with an
underscore. A plugin module exports exactly one frozen dataclass, its only name in `__all__`: the
fields are its parameters, and `version` is raised whenever its results change.

Other plugins are classes that installed packages name as entry points (see `installed_plugins`),
and files of the user (see `plugin_files`).
"""

import ast
import dataclasses
import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin, get_type_hints

from stepmark import plugin_files
from stepmark.errors import InstallError, PluginError
from stepmark.installed_plugins import group_of, installed_plugin_of, installed_plugins

__all__ = [
    "PLUGIN_PACKAGES",
    "available",
    "build",
    "describe",
    "id_of",
    "identity_of",
    "kind_and_id_of",
    "load",
]

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
    return tuple(sorted({*_built_in(kind), *installed_plugins(kind)}))


def describe(kind: str) -> Mapping[str, str]:
    """Return a description of every plugin by id, without importing the plugins.

    It is the first docstring line of a built-in plugin, and the package of an installed one.
    """
    descriptions = dict[str, str]()
    for name, installed in installed_plugins(kind).items():
        descriptions[name] = f"{installed.target} of {installed.package}"
    for name in _built_in(kind):
        descriptions[name] = _first_line(_module(kind, name))
    return dict(sorted(descriptions.items()))


def load(kind: str, use: str, *, code_folder: Path | None = None) -> type[Any]:
    """Return the class of a plugin.

    Args:
        kind: A key of `PLUGIN_PACKAGES`.
        use: An id, or the path of a plugin file.
        code_folder: The folder from which the paths of plugin files start. Without it no file is
            loaded.

    Raises:
        PluginError: No plugin of this kind has that id, and the message lists the existing ones; or
            two plugins have it; or a plugin file cannot be used.
        InstallError: The plugin imports a package that is not installed.
    """
    if plugin_files.is_file(use):
        return _load_file(kind, use, code_folder)
    installed = installed_plugins(kind).get(use)
    if use in _built_in(kind):
        if installed is not None:
            raise PluginError(
                f"{installed.package} has a plugin '{use}' in {installed.group}, but {kind}.{use} "
                "is built in: uninstall the package"
            )
        return _load_built_in(kind, use)
    if installed is not None:
        return installed.load()
    quoted = use[:QUOTED_CHARACTERS]
    raise PluginError(f"{kind} has no '{quoted}'; it has: {', '.join(available(kind))}")


def build(
    kind: str,
    table: Mapping[str, Any],
    *,
    from_texts: bool = False,
    code_folder: Path | None = None,
) -> Any:
    """Build the plugin that a table of a run file describes.

    Args:
        kind: A key of `PLUGIN_PACKAGES`.
        table: `use` is the plugin's id or file, every other key is one of its fields.
        from_texts: Whether the values are texts of the command line, also those of numbers. In
            lists, commas separate the items.
        code_folder: The folder from which the paths of plugin files start. Without it no file is
            loaded.

    Raises:
        PluginError: `use` is missing or unknown, or a field is unknown or has an invalid value.
    """
    if "use" not in table:
        raise PluginError(
            f"a table for {kind} needs `use = …`, one of: {', '.join(available(kind))}"
        )
    use = table["use"]
    if not isinstance(use, str):
        raise PluginError(f"a table for {kind}: use is the id of a plugin, a text")
    plugin = load(kind, use, code_folder=code_folder)
    name = id_of(use)
    parameters = {key: value for key, value in table.items() if key != "use"}
    _reject_unknown_fields(f"{kind}.{name}", parameters, plugin)
    # Pydantic is imported late: it takes half of the start-up time of a command that lists plugins.
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(plugin)
        if from_texts:
            return adapter.validate_python(_with_lists(plugin, parameters))
        # As JSON, in which lists are tuples and texts are choices, but `true` and "4" no numbers.
        return adapter.validate_json(json.dumps(parameters), strict=True)
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(
            f"{kind}.{name}: the type of a field cannot be read from a run file: {reason}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its fields"
        raise PluginError(f"{kind}.{name}: {where}: {first['msg']}") from error


def id_of(use: str) -> str:
    """Return the id of the plugin that a value of `use` names: that of a file is its name."""
    return plugin_files.id_of(use)


def identity_of(plugin: type[Any]) -> str:
    """Return the name of a plugin class in fingerprints: its kind and id, not its module or path.

    Modules and files can move without changing the fingerprints of existing datasets. A class that
    is no plugin is identified by its module.
    """
    # For mypy, the type of classes is not hashable.
    cls: Any = plugin
    return _cached_identity(cls)


def kind_and_id_of(plugin: type[Any]) -> tuple[str, str] | None:
    """Return the kind and id of a plugin class; None if it is no plugin."""
    package, _, name = plugin.__module__.rpartition(".")
    for kind, plugin_package in PLUGIN_PACKAGES.items():
        if package == plugin_package:
            return kind, name
    file_plugin = plugin_files.file_plugin_of(plugin.__module__)
    if file_plugin is not None:
        return file_plugin
    installed = installed_plugin_of(plugin)
    for kind in PLUGIN_PACKAGES:
        if installed is not None and installed.group == group_of(kind):
            return kind, installed.name
    return None


@cache
def _cached_identity(plugin: type[Any]) -> str:
    # Cached, because a run digests hundreds of thousands of records of a few types.
    kind_and_id = kind_and_id_of(plugin)
    if kind_and_id is None:
        return plugin.__module__
    kind, name = kind_and_id
    return f"{IDENTITY_NAMESPACES.get(kind, kind)}.{name}"


def _with_lists(plugin: type[Any], texts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of fields, in which the texts of lists are divided at their commas."""
    hints = get_type_hints(plugin)
    values = dict(texts)
    for name, text in texts.items():
        if get_origin(hints[name]) is tuple and isinstance(text, str):
            items = [item.strip() for item in text.split(",")]
            values[name] = [item for item in items if item]
    return values


def _built_in(kind: str) -> tuple[str, ...]:
    package = importlib.import_module(PLUGIN_PACKAGES[kind])
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


def _load_built_in(kind: str, name: str) -> type[Any]:
    try:
        module = importlib.import_module(_module(kind, name))
    except ModuleNotFoundError as error:
        raise InstallError(
            f"{kind}.{name} needs the package '{error.name}', which is not installed"
        ) from error
    return _only_export(module, f"{kind}.{name}")


def _load_file(kind: str, use: str, code_folder: Path | None) -> type[Any]:
    quoted = use[-QUOTED_CHARACTERS:]
    if code_folder is None:
        raise PluginError(
            f"{kind}: '{quoted}' is a plugin file, and no code is loaded here: the tables of a run "
            "file can name one, but not in the folder of a dataset, which others can have "
            "written; copy the run file into a folder of your own"
        )
    name = id_of(use)
    if name in available(kind):
        raise PluginError(
            f"{quoted}: {kind} has a plugin '{name}' already, and the file name is the id: "
            "rename the file"
        )
    return _only_export(plugin_files.load_module(kind, code_folder / use), quoted)


def _only_export(module: ModuleType, quoted: str) -> type[Any]:
    """Return the class that a plugin module exports."""
    exported = list(getattr(module, "__all__", ()))
    if len(exported) != 1 or not isinstance(exported[0], str):
        raise PluginError(
            f"{quoted} must export exactly one class in __all__; it exports {exported}"
        )
    plugin = getattr(module, exported[0], None)
    if not isinstance(plugin, type) or not dataclasses.is_dataclass(plugin):
        raise PluginError(f"{quoted}: {exported[0]} in __all__ is no dataclass")
    return plugin


def _module(kind: str, name: str) -> str:
    return f"{PLUGIN_PACKAGES[kind]}.{name}"


def _reject_unknown_fields(
    plugin_id: str, parameters: Mapping[str, Any], plugin: type[Any]
) -> None:
    fields = [field.name for field in dataclasses.fields(plugin) if field.init]
    for key in parameters:
        if key not in fields:
            listing = ", ".join(fields) or "none"
            quoted = key[:QUOTED_CHARACTERS]
            raise PluginError(f"{plugin_id} has no parameter '{quoted}'; it has: {listing}")


def _first_line(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]
