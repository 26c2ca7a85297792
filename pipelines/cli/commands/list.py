"""`stepmark list`."""

from rich.console import Console
from rich.table import Table

from stepmark import plugins

__all__ = ["list_plugins"]


def list_plugins() -> None:
    """List every plugin with its one-line description."""
    table = Table(show_header=False)
    for kind in plugins.PLUGIN_PACKAGES:
        for name, description in plugins.describe(kind).items():
            table.add_row(kind, name, description)
    Console().print(table)
