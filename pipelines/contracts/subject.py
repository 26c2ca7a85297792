"""The plugin that a command names: its kind and id, or a file."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.contracts.base import Subject
from stepmark import plugins
from stepmark.errors import InputError, PluginError
from stepmark.plugin_files import is_file

__all__ = ["subject_of"]

# What only plugins of one kind define. `sql` is an attribute, the others are methods.
KIND_OF_NAME: Mapping[str, str] = {
    "annotate": "annotators",
    "annotate_problem": "annotators",
    "check": "labelers",
    "drop": "filters",
    "complete": "engines",
    "problems": "problems",
    "solutions": "problems.shapes",
    "verify": "verifiers",
    "rows": "storage.formats",
    "sql": "storage.values",
}


def subject_of(
    plugin: str, *, kind: str = "", parameters: Mapping[str, str] | None = None
) -> Subject:
    """Return the plugin that a command names.

    Args:
        plugin: KIND.ID as in `stepmark list`, or a path that ends in .py.
        kind: The kind of a file; "" finds it out from the methods of its classes.
        parameters: Values of fields, as texts.

    Raises:
        PluginError: There is no such kind, or the kind of the file is unclear.
    """
    code_folder = None
    if is_file(plugin):
        use = plugin
        # The user has named the file in the command, so it may be executed.
        code_folder = Path()
        kind = kind or _kind_of_file(Path(plugin))
    else:
        named_kind, _, use = plugin.rpartition(".")
        kind = named_kind or kind
    if kind not in plugins.PLUGIN_PACKAGES:
        raise PluginError(
            f"'{plugin}' is not KIND.ID or a file: the kinds are "
            f"{', '.join(plugins.PLUGIN_PACKAGES)}; `stepmark list` has all ids"
        )
    return Subject(kind=kind, use=use, parameters=parameters or {}, code_folder=code_folder)


def _kind_of_file(path: Path) -> str:
    """Return the kind of a plugin file, without executing it."""
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"{path} is no Python: {error}") from error
    kinds = dict[str, None]()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for name in _names_in(node):
                if name in KIND_OF_NAME:
                    kinds[KIND_OF_NAME[name]] = None
    if len(kinds) != 1:
        found = ", ".join(kinds) or "none"
        raise PluginError(f"{path} has the methods of these kinds: {found}; name one with --kind")
    return next(iter(kinds))


def _names_in(definition: ast.ClassDef) -> Iterator[str]:
    """Yield the names of the methods and annotated attributes of a class."""
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id
