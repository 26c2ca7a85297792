"""`stepmark import`."""

import shlex
import sys
from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption, assignments
from pipelines.cli.tables import print_counts
from stepmark.errors import ConfigError
from stepmark.visible_text import visible

__all__ = ["import_"]


def import_(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files of existing solutions (JSONL, Parquet or CSV; globs allowed)."),
    ],
    dataset: DatasetOption,
    shape: Annotated[
        str,
        typer.Option(
            help="The format of the rows: gsm8k_solutions, processbench or one of problems.shapes "
            "in `stepmark list`. potato and side_labels add labels of people to the traces of the "
            "dataset; side_labels takes the folder of `stepmark view --labels`. Default: columns."
        ),
    ] = "",
    fields: Annotated[
        list[str],
        typer.Option(
            "--map",
            help="Map a Stepmark field to a column of the files: question=prompt.text.",
            metavar="OURS=YOURS",
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        str,
        typer.Option(
            help="How a solution is split into steps: line, blank_line, numbered, sentence, think "
            "or regex:PATTERN."
        ),
    ] = "line",
    min_step_chars: Annotated[
        int,
        typer.Option(
            min=0, help="Join a step of a text with fewer characters with the steps after it."
        ),
    ] = 0,
    domain: Annotated[
        str, typer.Option(help="The domain of the problems. Default: the domain of the shape.")
    ] = "",
    license: Annotated[
        str, typer.Option(help="The licence of the solutions, stored with each problem.")
    ] = "",
    labels_by: Annotated[
        str, typer.Option(help="The method that made the labels in mapped columns.")
    ] = "human",
    labels_from: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1,
            help="The number of the first step in mapped labels. Default: determined from the "
            "labels; ambiguous labels are an error.",
        ),
    ] = None,
    zero_is_neutral: Annotated[
        bool,
        typer.Option(
            "--zero-is-neutral",
            help="With --shape potato: the reward 0 is a neutral rating, not an unmarked step.",
        ),
    ] = False,
) -> None:
    """Import existing traces, with their labels, as a new dataset; or labels of its traces."""
    import asyncio

    from pipelines.importing.annotation_import import POTATO
    from pipelines.importing.side_label_import import SIDE_LABELS

    if shape in (POTATO, SIDE_LABELS):
        solution_options = (fields, license, domain, labels_by, labels_from, split, min_step_chars)
        if solution_options != ([], "", "", "human", None, "line", 0):
            raise ConfigError(
                f"--shape {shape} adds labels only: leave out the options of solutions"
            )
    if shape == POTATO:
        _import_annotations(paths, dataset, zero_is_neutral=zero_is_neutral)
        return
    if zero_is_neutral:
        raise ConfigError("--zero-is-neutral is for --shape potato: leave it out")
    if shape == SIDE_LABELS:
        _import_side_labels(paths, dataset)
        return
    from pipelines.importing.import_command import import_dataset

    counts = asyncio.run(
        import_dataset(
            paths,
            dataset,
            shape=shape,
            fields=assignments("--map", fields, "OURS=YOURS"),
            split=split,
            min_step_chars=min_step_chars,
            domain=domain,
            license=license,
            labels_by=labels_by,
            labels_from=labels_from,
        )
    )
    print_counts(f"imported into {dataset}", counts)
    if counts["rows set aside"]:
        query = '"SELECT field, reason, count(*) FROM rejected GROUP BY ALL"'
        print(f"next: stepmark sql {query} -d {shlex.quote(visible(dataset))}")  # noqa: T201


def _import_annotations(paths: list[str], dataset: str, *, zero_is_neutral: bool) -> None:
    from pipelines.importing.annotation_import import import_annotations

    done = import_annotations(paths, dataset, zero_is_neutral=zero_is_neutral)
    for row in done.rejected:
        message = f"set aside: {row.file}, row {row.row}, field '{row.field}': {row.reason}"
        print(visible(message), file=sys.stderr)  # noqa: T201
    counts = {f"labels by {method}": count for method, count in sorted(done.labelled.items())}
    print_counts(f"imported into {dataset}", {**counts, "rows set aside": len(done.rejected)})


def _import_side_labels(paths: list[str], dataset: str) -> None:
    from pipelines.importing.side_label_import import import_side_labels

    if len(paths) != 1:
        raise ConfigError("--shape side_labels takes one folder: import several one by one")
    done = import_side_labels(paths[0], dataset)
    for fault in done.faults:
        print(visible(fault), file=sys.stderr)  # noqa: T201
    counts = {f"labels by {method}": count for method, count in sorted(done.labelled.items())}
    counts["carried over to other steps"] = done.carried_over
    counts.update({f"not used: {reason}": count for reason, count in done.unused.items()})
    print_counts(f"imported into {dataset}", counts)
