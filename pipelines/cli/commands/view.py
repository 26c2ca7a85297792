"""`stepmark view`."""

from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption, QueueOption, WhereOption
from pipelines.cli.tables import print_copy
from stepmark.errors import ConfigError

__all__ = ["view"]

# Some 200 pages are a few megabytes, and what a person can look at in a day or two.
COPIED_TRACES = 200


def view(
    *,
    dataset: DatasetOption,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 for any free one.")
    ] = 8765,
    host: Annotated[
        str,
        typer.Option(help="The address to bind. Other machines need the token in the printed URL."),
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open a browser.")
    ] = False,
    export: Annotated[
        str,
        typer.Option(
            help="Serve nothing: write the overview and some traces as files to this new folder.",
            metavar="FOLDER",
        ),
    ] = "",
    traces: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"With --export: at most so many traces; {COPIED_TRACES} if not set."
        ),
    ] = None,
    where: WhereOption = "",
    queue: QueueOption = "",
) -> None:
    """Show a dataset in a browser: its figures, its traces, and why a step has its label.

    The server runs until Ctrl-C. It reads the dataset and writes nothing to it.
    """
    from storage.dataset.dataset import Dataset

    if export:
        from viewer.static_copy import write_copy

        limit = COPIED_TRACES if traces is None else traces
        result = write_copy(Dataset(dataset), export, limit, where=where, queue=queue)
        print_copy(f"{export}/index.html", result.traces, result.selected, result.size)
        return
    if traces is not None or where or queue:
        raise ConfigError("--traces, --where and --queue choose what --export FOLDER writes")
    from viewer.server import serve

    serve(Dataset(dataset), host, port, announce=_announce, browse=not no_browser)


def _announce(address: str) -> None:
    typer.echo(f"{address}  (Ctrl-C ends it)")
