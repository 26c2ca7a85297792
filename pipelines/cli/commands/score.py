"""`stepmark score`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption, SideLabelsOption
from pipelines.cli.side_labels import reported_side_labels
from pipelines.cli.tables import output_console
from stepmark.visible_text import visible

__all__ = ["score"]


class Split(StrEnum):
    """The columns by which `stepmark score` can break scores down."""

    domain = "domain"
    source = "source"
    model = "model"


def score(
    dataset: DatasetOption,
    gold: Annotated[
        str,
        typer.Option(
            help="The ground truth: the annotations of oracle or any other method, human for the "
            "labels of all people, or a file with the columns trace_id and first_error."
        ),
    ] = "oracle",
    side_labels: SideLabelsOption = "",
    by: Annotated[Split | None, typer.Option(help="Break scores down by this column.")] = None,
    reliability: Annotated[
        bool, typer.Option("--reliability", help="Also print accuracy by stated confidence.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw accuracy by confidence into a .svg, .png or .pdf file (needs the extra "
            "'plots')."
        ),
    ] = None,
) -> None:
    """Score methods and kept labels against gold first errors.

    The measures are those of ProcessBench, and calibration.
    """
    from pipelines.scoring import reliability_plot
    from pipelines.scoring.dataset_scores import scores
    from pipelines.scoring.gold import first_errors
    from pipelines.scoring.tables import reliability_table, score_table
    from storage.dataset.dataset import Dataset

    if plot is not None:
        # Checked first, so that a wrong file name does not cost the time of scoring.
        reliability_plot.check_plot_file(plot)
    scored_dataset = Dataset(dataset)
    scored_dataset.require()
    labels = reported_side_labels(side_labels, scored_dataset, gold)
    gold_first_errors, rejected = first_errors(scored_dataset, gold, labels)
    for row in rejected:
        message = f"set aside: {row.file}, row {row.row}, field '{row.field}': {row.reason}"
        print(visible(message), file=sys.stderr)  # noqa: T201
    column = by.value if by else ""
    # The method that is the ground truth would only score against itself.
    scored = scores(scored_dataset, gold_first_errors, excluded_method=gold, by=column)
    console = output_console()
    console.print(score_table(scored, f"{dataset} against {gold}: shares in %", column))
    if reliability:
        console.print(reliability_table(scored))
    if plot is not None:
        reliability_plot.draw_reliability(scored, plot)
