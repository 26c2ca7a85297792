"""`stepmark schedule`."""

import os
from pathlib import Path

from pipelines.cli.options import (
    Concurrency,
    Cron,
    DeploymentName,
    Interval,
    Overrides,
    RRule,
    RunFileArgument,
    Timezone,
)
from stepmark.errors import ConfigError
from stepmark.visible_text import visible

__all__ = ["schedule"]

CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


def schedule(
    run_file: RunFileArgument,
    cron: Cron = None,
    interval: Interval = None,
    rrule: RRule = None,
    timezone: Timezone = None,
    name: DeploymentName = None,
    concurrency: Concurrency = 1,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Run all stages of a run file on a schedule, until stopped.

    Needs a Prefect server (PREFECT_API_URL). With {date} in `dataset`, every day makes a dataset of
    its own; without it, every run continues the same one.
    """
    # The lines of the scheduled runs, which `QUIET` hides for other commands. Prefect reads the
    # level when it is imported.
    if os.environ.get(CONSOLE_LEVEL) == "CRITICAL":
        os.environ[CONSOLE_LEVEL] = "INFO"
    import asyncio

    from pipelines.cli.deployed import check_overrides, required_server
    from pipelines.run.code_folder import code_folder_of
    from pipelines.run.config import load, load_tables
    from pipelines.run.deployments import DeploymentOptions, ScheduleOptions, build, serve
    from pipelines.run.prefect_server import reachable_server
    from pipelines.run.preparation import prepare
    from pipelines.run.run_date import DATE, date_in

    times = ScheduleOptions(cron=cron, interval=interval, rrule=rrule, timezone=timezone)
    if times.schedule() is None:
        raise ConfigError("give a schedule: --cron, --interval or --rrule")
    # Reports errors of the run file now instead of at the first scheduled run.
    settings = load(Path(run_file), overrides, day=date_in(times.zone, None))
    code_folder = code_folder_of(Path(run_file))
    prepare(settings, run_file=run_file, makes_traces=True, code_folder=code_folder)
    check_overrides(overrides)
    url = required_server("a schedule")
    template = load_tables(Path(run_file), overrides)["dataset"]
    options = DeploymentOptions(schedule=times, name=name, concurrency=concurrency)
    parameters = {"run_file": str(Path(run_file).resolve()), "overrides": list(overrides)}
    with reachable_server(url):
        deployment = build(settings, template, options, parameters)
        print(f"schedule {deployment.name}: {times}, into {visible(template)}")  # noqa: T201
        if DATE not in template:
            print(f"every run continues this dataset; {DATE} in its name makes one a day")  # noqa: T201
        print(f"run it now: prefect deployment run '{deployment.full_name}'", flush=True)  # noqa: T201
        asyncio.run(serve(deployment))
