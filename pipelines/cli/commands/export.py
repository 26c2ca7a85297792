"""`stepmark export`."""

from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption, assignments
from pipelines.cli.tables import print_counts
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.records import Verdict

__all__ = ["export"]


def export(
    format_: Annotated[
        str,
        typer.Argument(
            help="trl, math_shepherd, processbench, prm800k, prmbench, math_aps or soft_labels.",
            metavar="FORMAT",
        ),
    ],
    dataset: DatasetOption,
    to: Annotated[str, typer.Option(help="A new folder, or hf://datasets/ORG/NAME.")],
    labels: Annotated[
        str,
        typer.Option(
            help="Export the annotations of this method (human, math_shepherd, …) instead of the "
            "kept labels."
        ),
    ] = "",
    neutral: Annotated[
        Verdict,
        typer.Option(
            help="With --labels: what steps with a neutral rating (the 0 of PRM800K) count as."
        ),
    ] = Verdict.CORRECT,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", help="Set a field of the format: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
    values: Annotated[
        str,
        typer.Option(
            help="Export the values of this formula, one of storage.values in `stepmark list`, "
            "with soft_labels or math_aps."
        ),
    ] = "",
    with_: Annotated[
        list[str],
        typer.Option(
            "--with", help="Set a field of the values: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Add a second copy of every trace with neighbouring steps merged."
        ),
    ] = False,
    public: Annotated[
        bool,
        typer.Option("--public", help="Create a public Hub repository. Default: private."),
    ] = False,
    config: Annotated[
        str,
        typer.Option(
            help="The name of the config, which replaces the one of this name in a Hub repository. "
            "Default: the format."
        ),
    ] = "",
    revision: Annotated[
        str,
        typer.Option(help="The branch of the Hub repository; created if it does not exist."),
    ] = "main",
    tag: Annotated[str, typer.Option(help="Tag this version in the Hub repository: v1.")] = "",
) -> None:
    """Write labelled traces in a trainer's format to a folder or the Hugging Face Hub."""
    from storage.dataset.dataset import Dataset
    from storage.publishing.export import export as write_export

    fields = {**assignments("--set", settings), "use": format_}
    exporter = plugins.build("storage.formats", fields, from_texts=True)
    if with_ and not values:
        raise ConfigError("--with sets a field of the values: select them with --values")
    formula = None
    if values:
        fields = {**assignments("--with", with_), "use": values}
        formula = plugins.build("storage.values", fields, from_texts=True)
    result = write_export(
        Dataset(dataset),
        exporter,
        to,
        labels_by=labels,
        neutral=neutral,
        values=formula,
        merge=merge,
        private=not public,
        config=config,
        revision=revision,
        tag=tag,
    )
    counts = {"rows": result.rows, "distinct solutions with a kept label": result.distinct}
    for reason, count in result.left_out.items():
        counts[f"left out: {reason}"] = count
    print_counts(f"exported to {result.destination}", counts)
