"""`stepmark report`."""

from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption, QueueOption, WhereOption
from pipelines.cli.tables import print_copy
from pipelines.stop_signals import stop_signals_raise
from stepmark.errors import ConfigError

__all__ = ["report"]

# Each trace is some pages of paper.
REPORTED_TRACES = 20


def report(
    *,
    dataset: DatasetOption,
    to: Annotated[str, typer.Option(help="A new file.", metavar="FILE.html")],
    traces: Annotated[
        int | None,
        typer.Option(min=0, help=f"The largest number of traces; {REPORTED_TRACES} if not set."),
    ] = None,
    where: WhereOption = "",
    queue: QueueOption = "",
    trace: Annotated[
        list[str],
        typer.Option(help="The id of a trace; repeat the option for several.", metavar="ID"),
    ] = [],  # noqa: B006
) -> None:
    """Write the figures of a dataset and some of its traces to one HTML file.

    The file contains its style, scripts and fonts, and requests nothing.
    """
    from storage.dataset.dataset import Dataset
    from viewer.report import write_report

    if trace and (traces is not None or where or queue):
        raise ConfigError("--trace names the traces: leave --traces, --where and --queue out")
    limit = REPORTED_TRACES if traces is None else traces
    with stop_signals_raise():
        result = write_report(
            Dataset(dataset),
            to,
            None if trace else limit,
            where=where,
            queue=queue,
            trace_ids=trace,
        )
    print_copy(to, result.traces, result.selected, result.size)
