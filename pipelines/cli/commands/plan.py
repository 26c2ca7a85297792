"""`stepmark plan`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Overrides, RunFileArgument
from pipelines.cli.tables import print_summary
from pipelines.stop_signals import StoppedError, run_until_stopped, stop_signals_raise
from stepmark.secrets import without_secrets
from stepmark.visible_text import one_line

__all__ = ["plan"]


def plan(
    run_file: RunFileArgument,
    overrides: Overrides = [],  # noqa: B006
    pilot: Annotated[
        int,
        typer.Option(
            "--pilot",
            min=0,
            help="Run this many problems first, and estimate from them. Their completions are"
            " stored, and a run requests none of them again.",
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Estimate what a run still costs: requests, tokens, price, time and files.

    Without --pilot nothing is requested or written: the estimate comes from finished shards, or is
    a bound.
    """
    from pipelines.estimating.estimate import estimate_run
    from pipelines.estimating.tables import json_fields, rows
    from pipelines.run.code_folder import code_folder_of
    from pipelines.run.config import load
    from pipelines.run.preparation import prepare

    settings = load(Path(run_file), overrides)
    if not as_json:
        # The source of problems can take long.
        typer.echo(one_line(f"plan {run_file} for {without_secrets(settings.dataset)}"))
    makes_traces = settings.problems is not None and bool(settings.engine)
    job = prepare(
        settings,
        run_file=run_file,
        makes_traces=makes_traces,
        writes=pilot > 0,
        code_folder=code_folder_of(Path(run_file)),
    )
    with stop_signals_raise():
        try:
            estimate = run_until_stopped(estimate_run(job, pilot))
        except (KeyboardInterrupt, StoppedError):
            if pilot:
                line = "stepmark: stopped; all completions of the pilot are stored, and the same"
                typer.echo(f"{line} command or a run requests none of them again", err=True)
            raise
    if as_json:
        typer.echo(json.dumps(json_fields(estimate), indent=2))
    else:
        print_summary(job.dataset.uri, rows(estimate))
