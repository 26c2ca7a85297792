"""`stepmark view`."""

from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption

__all__ = ["view"]


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
) -> None:
    """Show a dataset in a browser: its figures, its traces, and why a step has its label.

    The server runs until Ctrl-C. It reads the dataset and writes nothing to it.
    """
    from storage.dataset.dataset import Dataset
    from viewer.server import serve

    serve(Dataset(dataset), host, port, announce=_announce, browse=not no_browser)


def _announce(address: str) -> None:
    typer.echo(f"{address}  (Ctrl-C ends it)")
