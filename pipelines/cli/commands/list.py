"""`stepmark list`."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.tables import output_console
from stepmark import plugins
from stepmark.visible_text import visible

__all__ = ["list_plugins"]


def list_plugins(
    what: Annotated[
        str,
        typer.Argument(
            help="A kind, KIND.ID or a file, whose parameters are printed. A file is executed.",
            metavar="PLUGIN",
        ),
    ] = "",
    kind: Annotated[
        str, typer.Option(help="The kind of a file. Default: determined from its methods.")
    ] = "",
) -> None:
    """List every plugin with its one-line description, or describe one plugin."""
    if what and what not in plugins.PLUGIN_PACKAGES:
        _describe(what, kind)
        return
    table = Table(show_header=False)
    for listed in [what] if what else plugins.PLUGIN_PACKAGES:
        for name, description in plugins.describe(listed).items():
            table.add_row(listed, name, Text(visible(description)))
    output_console().print(table)


def _describe(plugin: str, kind: str) -> None:
    """Print the documentation and the fields of a plugin."""
    import inspect

    from pipelines.contracts.subject import subject_of
    from stepmark.plugin_fields import fields_of

    subject = subject_of(plugin, kind=kind)
    loaded = subject.load()
    console = output_console()
    console.print(Text(f"{subject.name}, version {getattr(loaded, 'version', 'unknown')}"))
    console.print(Text(visible(inspect.getdoc(loaded) or "It is not documented.")))
    fields = fields_of(loaded)
    if not fields:
        console.print("No parameters.")
        return
    table = Table("parameter", "type", "default", "meaning")
    for field in fields:
        cells = (field.name, field.type, field.default, field.plain_meaning)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    console.print(table)
