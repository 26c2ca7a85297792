"""`stepmark show`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption
from pipelines.cli.tables import output_console
from stepmark.errors import ConfigError

__all__ = ["show"]


def show(
    trace_id: Annotated[
        str,
        typer.Argument(
            help="The id of a trace, or the beginning of it.",
            metavar="[TRACE_ID]",
            show_default=False,
        ),
    ] = "",
    *,
    dataset: DatasetOption,
    where: Annotated[
        str,
        typer.Option(
            help="Show traces that fulfil this SQL condition on the columns of the view verdicts.",
            metavar="SQL",
        ),
    ] = "",
    at_random: Annotated[
        bool, typer.Option("--random", help="Choose the traces at random.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="How many traces --where and --random show.")
    ] = 1,
    critiques: Annotated[
        bool, typer.Option("--critiques", help="Also print the replies of judges.")
    ] = False,
    rollouts: Annotated[bool, typer.Option("--rollouts", help="Also print the rollouts.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write all records of a trace as a JSON object.")
    ] = False,
) -> None:
    """Show a trace: its question, every step with all verdicts and reasons, and its label."""
    from pipelines.trace_display import TraceDisplay
    from storage.dataset.dataset import Dataset
    from storage.queries.render import to_json_object
    from storage.queries.trace_details import TraceLocation, find_trace, read_details, select_traces

    if bool(trace_id) == bool(where or at_random):
        raise ConfigError("name a trace, or choose some with --where or --random")
    shown = Dataset(dataset)
    if trace_id:
        locations: Sequence[TraceLocation] = [find_trace(shown, trace_id)]
        count = 1
    else:
        locations, count = select_traces(shown, where, limit, at_random=at_random)
    console = output_console()
    if not locations and not as_json:
        console.print("no trace fulfils the condition", style="dim")
    for location in locations:
        details = read_details(shown, location)
        if as_json:
            sys.stdout.write(to_json_object(details) + "\n")
        else:
            console.print(TraceDisplay(details=details, critiques=critiques, rollouts=rollouts))
    if count > len(locations) and not as_json:
        console.print(f"{len(locations)} of {count} traces; --limit shows more", style="dim")
