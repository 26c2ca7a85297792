"""`stepmark deploy`."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.deployed import required_server
from pipelines.cli.options import (
    Concurrency,
    Cron,
    DeploymentName,
    Interval,
    Overrides,
    RRule,
    RunFileArgument,
    Timezone,
    assignments,
)
from stepmark.errors import ConfigError
from stepmark.visible_text import visible

__all__ = ["deploy"]


def deploy(
    run_file: RunFileArgument,
    pool: Annotated[str, typer.Option("--pool", help="The work pool, which must exist.")],
    image: Annotated[
        str | None,
        typer.Option("--image", help="The image of a docker or kubernetes pool, with Stepmark."),
    ] = None,
    job_variables: Annotated[
        list[str],
        typer.Option(
            "--job-variable",
            help="A variable of the pool's job template; the value is JSON or a text.",
            metavar="NAME=VALUE",
        ),
    ] = [],  # noqa: B006
    cron: Cron = None,
    interval: Interval = None,
    rrule: RRule = None,
    timezone: Timezone = None,
    name: DeploymentName = None,
    concurrency: Concurrency = 1,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Register a run file on a Prefect server, for the workers of a work pool.

    The server gets the content of the run file, so the workers do not need the file. Files that it
    names, such as problems, must exist where the workers run.
    """
    import asyncio

    from pipelines.run import deployments
    from pipelines.run.config import load_tables, parse
    from pipelines.run.prefect_server import reachable_server
    from pipelines.run.run_date import with_date
    from stepmark.secrets import without_secrets

    # Neither models nor problems must exist here, so nothing is prepared.
    tables = load_tables(Path(run_file), overrides)
    settings = parse(with_date(tables, date.today(), run_file), run_file)
    if without_secrets(tables) != tables:
        raise ConfigError(
            f"{run_file}: Prefect would store and display the secrets in it: name environment "
            "variables of the workers instead (api_key_env)"
        )
    times = deployments.ScheduleOptions(
        cron=cron, interval=interval, rrule=rrule, timezone=timezone
    )
    options = deployments.DeploymentOptions(schedule=times, name=name, concurrency=concurrency)
    given = _json_values(job_variables)
    url = required_server("a deployment")
    template = tables["dataset"]
    with reachable_server(url):
        work_pool = asyncio.run(deployments.check_pool(pool))
        variables = deployments.job_variables_for(work_pool, template, image, given)
        deployment = deployments.build(
            settings,
            template,
            options,
            {"run_file": run_file, "settings": tables},
            job_variables=variables,
        )
        asyncio.run(deployments.register(deployment, work_pool, image))
    print(  # noqa: T201
        f"deployment {deployment.full_name} in the {work_pool.type} pool {pool}: {times},"
        f" into {visible(template)}"
    )
    print(f"next: prefect worker start --pool {pool}")  # noqa: T201
    print(f"      prefect deployment run '{deployment.full_name}'")  # noqa: T201


def _json_values(texts: Sequence[str]) -> dict[str, Any]:
    """Return variables with their values read as JSON, or as texts where they are none."""
    variables = dict[str, Any]()
    for name, text in assignments("--job-variable", texts, "NAME=VALUE").items():
        try:
            variables[name] = json.loads(text)
        except ValueError:
            variables[name] = text
    return variables
