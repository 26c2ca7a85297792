"""Write the generated parts of the documentation: `python -m docs.generate`.

A page marks a generated part with two comments:

    <!-- generated: parameters method monte_carlo -->
    <!-- end of generated part -->

Names, types and defaults come from the code. The last column of a table of parameters or columns is
the meaning: it comes from the docstring below the field where the code has one. Otherwise it is
written by hand in the page, and this program keeps it. A row without a meaning is an error.
`python -m docs.generate --check` changes nothing and exits with status 1 when a page is stale.
"""

import ast
import inspect
import re
import sys
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.cli.app import app
from pipelines.run.config import RunFile
from stepmark import plugins
from stepmark.plugin_fields import (
    PluginField,
    default_text,
    docstrings_of_fields,
    fields_of,
    type_text,
)
from storage.dataset.dataset import Dataset
from storage.queries.sql import query
from storage.values.base import arguments

__all__ = ["GenerationError", "generated", "main", "pages"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = (
    "stepmark",
    "problems",
    "engines",
    "verifiers",
    "annotators",
    "filters",
    "storage",
    "viewer",
    "pipelines",
)
"""The installed packages, lowest layer first, as the architecture page lists them."""
KINDS: Mapping[str, str] = {
    "source": "problems",
    "solution_format": "problems.shapes",
    "engine": "engines",
    "verifier": "verifiers",
    "method": "annotators",
    "labeler": "labelers",
    "filter": "filters",
    "format": "storage.formats",
    "values": "storage.values",
}
"""The kinds of plugins, as pages and as `stepmark.plugins` name them."""
# The old content is captured too, because the meanings that are written by hand are in it.
BLOCK = re.compile(
    r"(<!-- generated: (?P<what>[^>]*?) -->\n)(?P<old>.*?)(<!-- end of generated part -->)",
    re.DOTALL,
)
# A pipe with a backslash belongs to the text of a cell.
CELL = re.compile(r"(?<!\\)\|")


class GenerationError(Exception):
    """A generated part cannot be written; the message names the page and the reason."""


def pages() -> Sequence[Path]:
    """Return all pages that can have generated parts."""
    return sorted(DOCS.rglob("*.md"))


def generated(page: Path) -> str:
    """Return the page's text with all generated parts up to date."""

    def replace(match: re.Match[str]) -> str:
        what, *names = match["what"].split()
        if what not in GENERATORS:
            raise GenerationError(f"{page.name}: no generator '{what}'")
        old_meanings = meanings(match["old"])
        try:
            new = GENERATORS[what](old_meanings, *names)
        except GenerationError as error:
            # A generator does not know its page, so the page is added here.
            part = " ".join([what, *names])
            raise GenerationError(f"{page.name}: {part}: {error}") from error
        # Markdown needs an empty line between a comment and a table.
        return f"{match[1]}\n{new.strip()}\n\n{match[4]}"

    return BLOCK.sub(replace, page.read_text(encoding="utf-8"))


def meanings(old: str) -> Mapping[str, str]:
    """Return the last cell of every row of the old tables, by the row's first cell."""
    by_name: dict[str, str] = {}
    for line in old.splitlines():
        # Only rows begin with a name in backticks; the header and the ruler do not.
        if line.startswith("| `"):
            row = line.strip().strip("|")
            cells = [cell.strip() for cell in CELL.split(row)]
            name = cells[0].strip("`")
            by_name[name] = cells[-1]
    return by_name


def parameters(old: Mapping[str, str], kind: str, name: str) -> str:
    """Return the table of a plugin's parameters."""
    rows = fields_of(plugins.load(KINDS[kind], name))
    if not rows:
        return "No parameters."
    return _parameter_table(rows, old)


def run_file_table(old: Mapping[str, str], table: str = "") -> str:
    """Return the keys of the run file, or of one of its tables."""
    model: type[BaseModel] = RunFile
    if table:
        annotation = RunFile.model_fields[table].annotation
        assert isinstance(annotation, type)
        model = annotation
    documentation = docstrings_of_fields(model)
    rows = []
    for key, field in model.model_fields.items():
        default = "required"
        if not field.is_required():
            default = default_text(field.get_default())
        type_name = type_text(_annotated(field))
        meaning = documentation.get(key, "")
        parameter = PluginField(
            name=key,
            type=type_name,
            default=default,
            meaning=meaning,
        )
        rows.append(parameter)
    return _parameter_table(rows, old)


def plugin_list(old: Mapping[str, str], kind: str) -> str:
    """Return a table of all plugins of a kind with their one-line descriptions."""
    lines = ["| id | description |", "|---|---|"]
    descriptions = plugins.describe(KINDS[kind])
    for name, line in descriptions.items():
        lines.append(f"| `{name}` | {_cell(line)} |")
    return "\n".join(lines)


def columns(old: Mapping[str, str], view: str) -> str:
    """Return the table of a view's columns, as DuckDB describes the view of an empty dataset."""
    with tempfile.TemporaryDirectory() as folder:
        # An empty folder is not a dataset; a folder with an empty table is.
        Path(folder, "problems").mkdir()
        description = query(Dataset(folder), f"DESCRIBE {view}")
        described = description.to_pylist()
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for row in described:
        name = row["column_name"]
        type_name = _cell(row["column_type"])
        # A view has no docstrings, so every meaning is written by hand.
        meaning = _meaning(name, "", old)
        lines.append(f"| `{name}` | `{type_name}` | {meaning} |")
    return "\n".join(lines)


def macros(old: Mapping[str, str]) -> str:
    """Return the table of the macros that compute step values, with their default arguments."""
    lines = ["| macro | columns | description |", "|---|---|---|"]
    group = KINDS["values"]
    for name, description in plugins.describe(group).items():
        formula = plugins.load(group, name)
        call = f"{name}({arguments(formula())})"
        # Every macro returns the column `value`; `columns` are the additional ones.
        columns_cell = _code_list(["value", *formula.columns])
        description_cell = _cell(description)
        lines.append(f"| `{_cell(call)}` | {columns_cell} | {description_cell} |")
    return "\n".join(lines)


def commands(old: Mapping[str, str]) -> str:
    """Return a section for every command: usage, description, arguments and options."""
    group: Any = typer.main.get_command(app)
    sections = []
    for name, command in group.commands.items():
        sections.append(_command_section(name, command))
    return "\n\n".join(sections)


def tree(old: Mapping[str, str]) -> str:
    """Return the modules of all packages with the first lines of their docstrings."""
    blocks = []
    for package in PACKAGES:
        for folder in sorted(_python_folders(ROOT / package)):
            blocks.append("\n".join(_folder_lines(folder)))
    return "```text\n" + "\n\n".join(blocks) + "\n```"


GENERATORS: Mapping[str, Callable[..., str]] = {
    "columns": columns,
    "commands": commands,
    "macros": macros,
    "parameters": parameters,
    "plugins": plugin_list,
    "run-file": run_file_table,
    "tree": tree,
}


def main(options: Sequence[str]) -> int:
    """Rewrite stale pages, or with `--check` list them; return the exit status."""
    checks_only = "--check" in options
    stale = []
    for page in pages():
        text = generated(page)
        if text == page.read_text(encoding="utf-8"):
            continue
        stale.append(page.relative_to(ROOT).as_posix())
        if not checks_only:
            page.write_text(text, encoding="utf-8")
    action = "updated"
    if checks_only:
        action = "stale"
    for name in stale:
        print(f"{action}: {name}")  # noqa: T201
    if checks_only and stale:
        return 1
    return 0


def _parameter_table(rows: Sequence[PluginField], old: Mapping[str, str]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        meaning = _meaning(row.name, row.meaning, old)
        type_cell = _cell(row.type)
        default = row.default
        # "required" is not a value, so it is not printed as code.
        if default != "required":
            default = f"`{_cell(default)}`"
        lines.append(f"| `{row.name}` | {type_cell} | {default} | {meaning} |")
    return "\n".join(lines)


def _meaning(name: str, documentation: str, old: Mapping[str, str]) -> str:
    meaning = _cell(documentation) or old.get(name, "")
    if not meaning:
        raise GenerationError(
            f"'{name}' has no meaning: write a docstring below the field, or the last cell of"
            f" a row | `{name}` | … | by hand"
        )
    return meaning


def _annotated(field: FieldInfo) -> Any:
    """Return the field's type with its bounds, which pydantic keeps apart."""
    # pydantic removes the bounds from the annotation and keeps them in `metadata`.
    if not field.metadata:
        return field.annotation
    return typing.Annotated[(field.annotation, *field.metadata)]


def _command_section(name: str, command: Any) -> str:
    usage = ["stepmark", name]
    rows = []
    for parameter in command.params:
        help_text = _cell(getattr(parameter, "help", "") or "")
        if parameter.param_type_name == "argument":
            usage.append(_argument_usage(parameter))
            argument = _argument_name(parameter)
            rows.append(f"| `{argument}` | {help_text} |")
        elif parameter.name != "help":
            if parameter.required:
                value = _option_value(parameter)
                usage.append(f"{parameter.opts[0]} {value}")
            option = _option_names(parameter)
            rows.append(f"| {option} | {help_text} |")
    usage.append("[OPTIONS]")
    lines = [
        f"## stepmark {name}",
        "",
        "```text",
        " ".join(usage),
        "```",
        "",
        inspect.cleandoc(command.help or ""),
    ]
    if rows:
        lines += ["", "| argument or option | description |", "|---|---|", *rows]
    return "\n".join(lines)


def _argument_name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _argument_usage(parameter: Any) -> str:
    usage = _argument_name(parameter)
    if parameter.nargs == -1:
        usage += "..."
    if not parameter.required:
        usage = f"[{usage}]"
    return usage


def _option_names(parameter: Any) -> str:
    """Return an option's spellings, its value, whether it is required, and its default."""
    names = _code_list(parameter.opts)
    if parameter.is_flag:
        return names
    value = _cell(_option_value(parameter))
    text = f"{names} `{value}`"
    if parameter.required:
        return f"{text} (required)"
    if parameter.multiple:
        return f"{text} (repeatable)"
    # All commands use an empty text for "not set"; it is not printed as a default.
    if parameter.default in (None, ""):
        return text
    # The default of a choice is an enum member, whose value is what users write.
    default = getattr(parameter.default, "value", parameter.default)
    return f"{text} (default `{default}`)"


def _option_value(parameter: Any) -> str:
    """Return how an option's value is written: its name, its choices, PATH, or TEXT."""
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = parameter.type_descriptor.annotation
    # The type of a repeatable or optional option is inside `list[...]` or a union.
    for part in typing.get_args(annotation) or [annotation]:
        if not isinstance(part, type):
            continue
        if issubclass(part, Enum):
            return "|".join(str(choice.value) for choice in part)
        if issubclass(part, Path):
            return "PATH"
    return "TEXT"


def _python_folders(package: Path) -> Iterator[Path]:
    for init in package.rglob("__init__.py"):
        yield init.parent


def _folder_lines(folder: Path) -> Iterator[str]:
    name = folder.relative_to(ROOT).as_posix() + "/"
    description = _first_line(folder / "__init__.py")
    # The descriptions of folders and modules begin in the same column.
    yield f"{name:30}{description}"
    for module in sorted(folder.glob("*.py")):
        if module.name != "__init__.py":
            description = _first_line(module)
            yield f"  {module.name:28}{description}"


def _first_line(module: Path) -> str:
    source = module.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))
    return (docstring or "").partition("\n")[0]


def _code_list(names: Iterable[str]) -> str:
    """Return names in backticks, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    """Return a text for a cell of a table: one line, with pipes escaped."""
    line = " ".join(text.split())
    return CELL.sub(r"\\|", line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
