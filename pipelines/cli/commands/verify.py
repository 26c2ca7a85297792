"""`stepmark verify`."""

from typing import Annotated

import typer

from pipelines.cli.options import DatasetOption
from stepmark.visible_text import visible

__all__ = ["verify"]

# 2 is the exit status of errors: the dataset could not be verified.
FAULTY = 1


def verify(
    dataset: DatasetOption,
    *,
    delete_damaged: Annotated[
        bool,
        typer.Option(
            "--delete-damaged", help="Delete the parts that cannot be read, after naming them."
        ),
    ] = False,
) -> None:
    """Check that all parts of a dataset are intact and agree with each other.

    Each fault is one line that says how to repair it. Exit status 1 if there are any.
    """
    from contextlib import nullcontext

    from storage.dataset.dataset import Dataset
    from storage.dataset.verify import verify as faults_of

    verified = Dataset(dataset)
    # Deleting is writing, and a dataset has one writer at a time. `require` comes first, because
    # the lock creates the folder.
    verified.require()
    count = 0
    with verified.writer_lock() if delete_damaged else nullcontext():
        for finding in faults_of(verified):
            count += 1
            typer.echo(visible(str(finding)))
            if delete_damaged and finding.damaged_part is not None:
                verified.remove_part(*finding.damaged_part)
                typer.echo(visible(f"{finding.path}: deleted"))
    if count:
        raise typer.Exit(FAULTY)
    typer.echo(visible(f"{dataset}: no fault found"))
