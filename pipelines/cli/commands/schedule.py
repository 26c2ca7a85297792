"""`stepmark schedule`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Overrides, RunFileArgument
from stepmark.errors import ConfigError

__all__ = ["schedule"]


def schedule(
    run_file: RunFileArgument,
    cron: Annotated[
        str, typer.Option(help='A cron expression: "0 2 * * *" is every night at two.')
    ],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Run all stages of a run file on a schedule, until stopped.

    Needs a Prefect server (PREFECT_API_URL).
    """
    from prefect.client.schemas.schedules import CronSchedule

    from pipelines.run.config import load, public_override
    from pipelines.run.flow import stepmark_run
    from pipelines.run.prefect_server import configured_url, reachable_server
    from pipelines.run.preparation import prepare

    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise ConfigError(
            f"--cron '{cron}' is not a cron expression; '0 2 * * *' is every night at two"
        ) from error
    # Reports errors of the run file now instead of at the first scheduled run.
    prepare(load(Path(run_file), overrides), run_file=run_file, makes_traces=True)
    for override in overrides:
        if public_override(override) != override:
            raise ConfigError(
                f"--set {override.partition('=')[0]}: Prefect would store and display this secret: "
                "write it in the run file"
            )
    url = configured_url()
    if url is None:
        raise ConfigError(
            "a schedule needs a Prefect server: start one with `prefect server start` "
            "and set PREFECT_API_URL to its address"
        )
    path = Path(run_file).resolve()
    with reachable_server(url):
        stepmark_run.serve(
            name=Path(run_file).stem,
            cron=cron,
            parameters={"run_file": str(path), "overrides": overrides},
            print_starting_message=True,
        )
