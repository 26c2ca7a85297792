"""`stepmark view`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import DatasetOption, QueueOption, WhereOption
from pipelines.cli.tables import print_copy
from pipelines.stop_signals import stop_signals_raise
from stepmark.errors import ConfigError, DatasetError
from stepmark.visible_text import visible

if TYPE_CHECKING:
    from storage.dataset.dataset import Dataset
    from viewer.labelling import Labelling

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
            min=0, help=f"With --export: the largest number of traces; {COPIED_TRACES} if not set."
        ),
    ] = None,
    where: WhereOption = "",
    queue: QueueOption = "",
    rater: Annotated[
        str,
        typer.Option(
            help="Who labels by hand: a-z, 0-9 and -. Default: each browser asks for a name."
        ),
    ] = "",
    overlap: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="The share of the traces that are given to every rater."
        ),
    ] = 1.0,
    labels: Annotated[
        str,
        typer.Option(
            help="The folder of labels by hand. Default: the dataset, or a folder of the user for "
            "buckets and without permission to write.",
            metavar="FOLDER",
        ),
    ] = "",
) -> None:
    """Show a dataset in a browser: its figures, its traces, and why a step has its label.

    People can label its traces. Nothing else of the dataset changes. The server runs until Ctrl-C.
    """
    from storage.dataset.dataset import Dataset

    if export:
        from viewer.static_copy import write_copy

        limit = COPIED_TRACES if traces is None else traces
        with stop_signals_raise():
            result = write_copy(Dataset(dataset), export, limit, where=where, queue=queue)
        print_copy(f"{export}/index.html", result.traces, result.selected, result.size)
        return
    if traces is not None or where or queue:
        raise ConfigError("--traces, --where and --queue choose what --export FOLDER writes")
    from storage.labelling.raters import check_rater
    from viewer.server import serve

    if rater:
        check_rater(rater)
    viewed = Dataset(dataset)
    viewed.require()
    labelling = _labelling(viewed, labels, rater, overlap)
    serve(viewed, host, port, announce=_announce, browse=not no_browser, labelling=labelling)


def _labelling(dataset: "Dataset", folder: str, rater: str, overlap: float) -> "Labelling | None":
    """Return how people label; None if no label could be written."""
    from storage.labelling.label_store import LabelStore
    from viewer.labelling import Labelling

    try:
        store = LabelStore.open(dataset, folder)
    except DatasetError as error:
        if folder or rater:
            raise
        typer.echo(visible(f"without labels by hand: {error}"))
        return None
    if store.is_beside:
        typer.echo(visible(f"labels by hand are written to {store.location}"))
    for fault in store.faults():
        typer.echo(visible(fault))
    # What a killed server has not stored.
    waiting = store.store_finished()
    if waiting.waiting:
        typer.echo(visible(f"finished labels that wait: {waiting.waiting}; {waiting.reason}"))
    return Labelling(store=store, rater=rater, overlap=overlap)


def _announce(address: str) -> None:
    typer.echo(f"{address}  (Ctrl-C ends it)")
