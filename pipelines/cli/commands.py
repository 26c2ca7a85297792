"""The commands of `stepmark`: each reads its arguments and calls the room that does the work."""

import asyncio
import gc
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.terminal import visible
from stepmark import plugins
from stepmark.errors import ConfigError

__all__ = ["app"]

PIPE_WIDTH = 160
SHOWN_ROWS = 1000

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)

RunFileArgument = Annotated[str, typer.Argument(help="The run file (TOML).", metavar="RUN.toml")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", help="Override a key of the run file: table.key=value.", metavar="KEY=VALUE"
    ),
]
DatasetOption = Annotated[
    str, typer.Option("--dataset", "-d", help="The dataset: a folder, or any fsspec URI.")
]


class Split(StrEnum):
    """What `stepmark score` can tell apart."""

    domain = "domain"
    source = "source"
    model = "model"


class Layout(StrEnum):
    """How `stepmark sql` prints."""

    table = "table"
    json = "json"
    csv = "csv"


@app.command()
def run(run_file: RunFileArgument, overrides: Overrides = []) -> None:  # noqa: B006
    """Do the whole job of a run file; started again, it makes only what is missing."""
    _perform(run_file, overrides, makes_traces=True)


@app.command()
def label(run_file: RunFileArgument, overrides: Overrides = []) -> None:  # noqa: B006
    """Annotate and label the traces that a dataset holds."""
    _perform(run_file, overrides, makes_traces=False)


@app.command("import")
def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files of solutions that exist already (JSONL, Parquet, CSV; globs allowed)."
        ),
    ],
    dataset: DatasetOption,
    shape: Annotated[
        str,
        typer.Option(
            help="gsm8k_solutions, processbench, one of problems.shapes in `stepmark list`; else columns."
        ),
    ] = "",
    fields: Annotated[
        list[str],
        typer.Option(
            "--map", help="Our field and your column: question=prompt.text", metavar="OURS=YOURS"
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        str,
        typer.Option(
            help="How a solution text is cut: line, blank_line, numbered, sentence, regex:PATTERN"
        ),
    ] = "line",
    domain: Annotated[
        str, typer.Option(help="The domain to note; the shape's own by default.")
    ] = "",
    license: Annotated[
        str, typer.Option(help="The licence of the solutions, noted with each problem.")
    ] = "",
    labels_by: Annotated[
        str,
        typer.Option(help="The method that made the labels of mapped columns; people by default."),
    ] = "human",
) -> None:
    """Bring existing traces in, labels of people and others included, as a dataset to label."""
    from pipelines.importing.import_command import take_in

    said = {"split": split, "domain": domain, "license": license, "labels_by": labels_by}
    counts = asyncio.run(
        take_in(paths, dataset, shape=shape, fields=_pairs("--map", fields), **said)
    )
    _print_counts(f"imported into {dataset}", counts)


@app.command()
def sql(
    query: Annotated[
        str, typer.Argument(help="One SELECT; read from standard input where it is left out.")
    ] = "",
    *,
    dataset: DatasetOption,
    layout: Annotated[Layout, typer.Option("--format")] = Layout.table,
) -> None:
    """Ask a dataset in SQL: views problems, traces, steps, rollouts, critiques, annotations, labels, classes, step_values, rejected."""
    from storage.dataset.dataset import Dataset
    from storage.queries import render
    from storage.queries.sql import query as ask

    answer = ask(Dataset(dataset), query or sys.stdin.read())
    if layout is not Layout.table:
        sys.stdout.write(render.to_json(answer) if layout is Layout.json else render.to_csv(answer))
        return
    table = Table()
    for name in answer.column_names:
        table.add_column(Text(visible(name)))
    for row in render.values(answer.slice(0, SHOWN_ROWS)):
        table.add_row(*(Text("" if value is None else visible(str(value))) for value in row))
    console = Console(width=_width())
    console.print(table)
    if answer.num_rows > SHOWN_ROWS:
        console.print(
            f"the first {SHOWN_ROWS} of {answer.num_rows} rows; --format csv or json writes them all"
        )


@app.command()
def score(
    dataset: DatasetOption,
    gold: Annotated[
        str,
        typer.Option(
            help="The truth: the annotations of oracle, human or any method, or a file of trace_id and first_error."
        ),
    ] = "oracle",
    by: Annotated[Split | None, typer.Option(help="A score for each of these apart.")] = None,
    reliability: Annotated[
        bool, typer.Option("--reliability", help="Show how often each confidence is right, too.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw that into a file: .svg, .png or .pdf (needs the extra 'plots')."),
    ] = None,
) -> None:
    """Compare every method's first errors, and the kept labels', with gold ones (ProcessBench's measures, and calibration)."""
    from pipelines.run.summary import reliability_table, score_table, scores
    from pipelines.scoring import reliability_plot as plots
    from pipelines.scoring.gold import first_errors
    from storage.dataset.dataset import Dataset

    if plot is not None:
        plots.check(plot)
    asked = Dataset(dataset)
    truth, aside = first_errors(asked, gold)
    for row in aside:
        print(  # noqa: T201
            visible(f"set aside: {row.file}, row {row.row}, field '{row.field}': {row.reason}"),
            file=sys.stderr,
        )
    split = by.value if by else ""
    scored = scores(asked, truth, but=gold, by=split)
    console = Console(width=_width())
    console.print(score_table(scored, f"{dataset} against {gold}: shares in %", split))
    if reliability:
        console.print(reliability_table(scored))
    if plot is not None:
        plots.draw_reliability(scored, plot)


@app.command()
def export(
    format_: Annotated[
        str,
        typer.Argument(
            help="trl, math_shepherd, processbench, prm800k, prmbench, math_aps, soft_labels",
            metavar="FORMAT",
        ),
    ],
    dataset: DatasetOption,
    to: Annotated[str, typer.Option(help="A new folder, or hf://datasets/ORG/NAME.")],
    labels: Annotated[
        str,
        typer.Option(
            help="Take a method's annotations for labels (human, math_shepherd, …), not the kept labels."
        ),
    ] = "",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", help="Set a field of the format: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
    values: Annotated[
        str,
        typer.Option(
            help="Take a formula's values, one of storage.values in `stepmark list`, with soft_labels or math_aps."
        ),
    ] = "",
    with_: Annotated[
        list[str],
        typer.Option("--with", help="Set a field of the values: eta=10.", metavar="FIELD=VALUE"),
    ] = [],  # noqa: B006
    merge: Annotated[
        bool, typer.Option("--merge", help="Add every trace again with neighbouring steps merged.")
    ] = False,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="Make a new Hub repository public; it is private by default."
        ),
    ] = False,
) -> None:
    """Write labelled traces in a trainer's format, to a folder or to the Hugging Face Hub."""
    from storage.dataset.dataset import Dataset
    from storage.publishing.export import export as write

    exporter = plugins.build("storage.formats", {**_pairs("--set", settings), "use": format_})
    if with_ and not values:
        raise ConfigError("--with sets a field of values: name them with --values")
    formula = (
        plugins.build("storage.values", {**_pairs("--with", with_), "use": values})
        if values
        else None
    )
    done = write(
        Dataset(dataset),
        exporter,
        to,
        labels_by=labels,
        values=formula,
        merge=merge,
        private=not public,
    )
    _print_counts(
        f"exported to {done.destination}",
        {"rows": done.rows, **{f"left out: {why}": n for why, n in done.left_out.items()}},
    )


@app.command()
def schedule(
    run_file: RunFileArgument,
    cron: Annotated[
        str, typer.Option(help='When, as cron writes it: "0 2 * * *" is every night at two.')
    ],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Do the same job on a schedule; serves it until stopped, and needs a Prefect server (PREFECT_API_URL)."""
    from prefect.client.schemas.schedules import CronSchedule

    from pipelines.run.flow import prepare, stepmark_run
    from pipelines.run.prefect_server import configured, reachable

    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise ConfigError(
            f"--cron '{cron}' is no cron expression; '0 2 * * *' is every night at two"
        ) from error
    prepare(run_file, overrides, makes_traces=True)
    if configured() is None:
        raise ConfigError(
            "a schedule needs a Prefect server: start one with `prefect server start` and set PREFECT_API_URL to its address"
        )
    parameters = {"run_file": str(Path(run_file).resolve()), "overrides": overrides}
    with reachable():
        stepmark_run.serve(
            name=Path(run_file).stem, cron=cron, parameters=parameters, print_starting_message=True
        )


@app.command("list")
def list_plugins() -> None:
    """Show every plugin with its one-line description."""
    table = Table(show_header=False)
    for room in plugins.PLUGIN_PACKAGES:
        for name, line in plugins.describe(room).items():
            table.add_row(room, name, line)
    Console().print(table)


def _perform(run_file: str, overrides: Sequence[str], *, makes_traces: bool) -> None:
    from pipelines.run import flow
    from pipelines.run.prefect_server import reachable

    gc.freeze()  # else the interpreter looks for seconds through all that Prefect has imported before it ends
    job = flow.prepare(run_file, overrides, makes_traces=makes_traces)
    with reachable():
        rows = asyncio.run(flow.perform(job, run_file, overrides, makes_traces=makes_traces))
    _print_summary(job.dataset.uri, rows)


def _pairs(name: str, options: list[str]) -> dict[str, str]:
    for option in options:
        if "=" not in option:
            raise ConfigError(
                f"{name} {option}: write it as {'OURS=YOURS' if name == '--map' else 'FIELD=VALUE'}"
            )
    return dict(option.split("=", 1) for option in options)


def _print_summary(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    table = Table(show_header=False)
    for row in rows:
        table.add_row(Text(visible(row["what"])), Text(visible(row["count"])))
    console = Console(width=_width())
    console.print(Text(visible(title)))
    console.print(table)


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    _print_summary(title, [{"what": what, "count": str(count)} for what, count in counts.items()])


def _width() -> int | None:
    """The terminal's width; where there is none, room enough that nothing wraps at eighty columns."""
    return None if sys.stdout.isatty() else PIPE_WIDTH
