"""`stepmark run`."""

from typing import Annotated

import typer

from pipelines.cli.options import (
    Day,
    JsonProgress,
    Overrides,
    RetryFailed,
    RunFileArgument,
    Shards,
    Workers,
)

__all__ = ["run"]


def run(
    run_file: RunFileArgument,
    overrides: Overrides = [],  # noqa: B006
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Replace the traces of the dataset if the run file now makes other ones.",
        ),
    ] = False,
    retry_failed: RetryFailed = False,
    workers: Workers = None,
    shards: Shards = "",
    json_progress: JsonProgress = False,
    day: Day = None,
    regrade: Annotated[
        bool,
        typer.Option(
            "--regrade",
            help="No effect: every run grades again if the grader has changed.",
        ),
    ] = False,
) -> None:
    """Run all stages of a run file. A rerun resumes where the last one stopped.

    Completions are stored: a rerun requests none of them again.
    """
    # Every run grades again what another grader, or another version of it, has graded. The option
    # exists because users look for a command that does it.
    del regrade
    from pipelines.cli.run_flow import run_flow
    from pipelines.run.options import RunOptions

    options = RunOptions(
        recompute=recompute,
        retry_failed=retry_failed,
        json_progress=json_progress,
        workers=workers,
        shards=shards,
    )
    run_flow(run_file, overrides, options, makes_traces=True, day=day)
