"""Arguments and options that several commands share."""

from collections.abc import Sequence
from typing import Annotated

import typer

from stepmark.errors import ConfigError

__all__ = [
    "Concurrency",
    "Cron",
    "DatasetOption",
    "Day",
    "DeploymentName",
    "Interval",
    "JsonProgress",
    "Overrides",
    "QueueOption",
    "RRule",
    "RetryFailed",
    "RunFileArgument",
    "Shards",
    "SideLabelsOption",
    "Timezone",
    "WhereOption",
    "Workers",
    "assignments",
]

RunFileArgument = Annotated[str, typer.Argument(help="The run file (TOML).", metavar="RUN.toml")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", help="Override a key of the run file: table.key=value.", metavar="KEY=VALUE"
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Repeat failures and unknown results that have a temporary cause.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="The number of processes that make shards, each with its engines; see [run].",
    ),
]
Shards = Annotated[
    str,
    typer.Option(
        "--shards",
        help="Make a slice of the shards, for one of several machines: 0/8 to 7/8.",
        metavar="INDEX/COUNT",
    ),
]
JsonProgress = Annotated[
    bool,
    typer.Option(
        "--json-progress", help="Write the progress to standard error, one JSON object per line."
    ),
]
WhereOption = Annotated[
    str,
    typer.Option(help="The traces that this query selects, by its column trace_id.", metavar="SQL"),
]
QueueOption = Annotated[
    str,
    typer.Option(
        help="The traces of a queue: disagree, doubtful, flawed, formal or audit.", metavar="NAME"
    ),
]
SideLabelsOption = Annotated[
    str,
    typer.Option(
        help="A folder of labels by hand beside the dataset, as `stepmark view --labels` writes "
        "it. Their first errors are carried over to the steps that the traces have now.",
        metavar="FOLDER",
    ),
]
DatasetOption = Annotated[
    str, typer.Option("--dataset", "-d", help="The dataset: a folder or an fsspec URI.")
]

Day = Annotated[
    str | None,
    typer.Option(
        "--date",
        help="The day that replaces {date} in the run file; today by default.",
        metavar="YYYY-MM-DD",
    ),
]
Cron = Annotated[
    str | None,
    typer.Option("--cron", help='A cron expression: "0 2 * * *" is every night at two.'),
]
Interval = Annotated[
    str | None, typer.Option("--interval", help="The time between two starts: 30m, 6h or 1d.")
]
RRule = Annotated[
    str | None,
    typer.Option("--rrule", help='A recurrence rule: "FREQ=WEEKLY;BYDAY=MO;BYHOUR=2;BYMINUTE=0".'),
]
Timezone = Annotated[
    str | None,
    typer.Option("--timezone", help="The time zone of the schedule and of {date}; UTC by default."),
]
DeploymentName = Annotated[
    str | None,
    typer.Option("--name", help="The name of the deployment. The default depends on the dataset."),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency", min=1, help="The number of runs at a time. Further ones are skipped."
    ),
]


def assignments(option: str, values: Sequence[str], form: str = "FIELD=VALUE") -> dict[str, str]:
    """Return the values of a repeatable option `--option key=value` as a dictionary.

    Args:
        option: The name of the option, for error messages.
        values: What the user passed.
        form: The expected form, for error messages.

    Raises:
        ConfigError: A value has no "=".
    """
    pairs = dict[str, str]()
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option} {text}: write it as {form}")
        pairs[key] = value
    return pairs
