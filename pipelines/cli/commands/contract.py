"""`stepmark test-plugin`."""

from typing import Annotated

import typer
from rich.text import Text

from pipelines.cli.options import assignments
from pipelines.cli.tables import output_console
from stepmark.visible_text import one_line

__all__ = ["check_plugin"]

# The exit status of a plugin that breaks its contract.
BROKEN = 2


def check_plugin(
    plugin: Annotated[
        str,
        typer.Argument(help="KIND.ID as in `stepmark list`, or a file.", metavar="PLUGIN"),
    ],
    kind: Annotated[
        str, typer.Option(help="The kind of a file. Default: determined from its methods.")
    ] = "",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", help="Set a field of the plugin: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
) -> None:
    """Test a plugin against the contract of its kind, on small inputs. A file is executed.

    Exit status 2 if a test fails.
    """
    from pipelines.contracts.runner import results
    from pipelines.contracts.subject import subject_of

    subject = subject_of(plugin, kind=kind, parameters=assignments("--set", settings))
    console = output_console()
    failures = 0
    for result in results(subject):
        mark = "FAILED" if result.failure else "ok"
        console.print(Text(f"{mark:6} {subject.name} {result.what}"), soft_wrap=True)
        if result.failure:
            failures += 1
            console.print(Text(f"       {one_line(result.failure)}"), soft_wrap=True)
    if failures:
        raise typer.Exit(BROKEN)
