"""Deployments of runs on a Prefect server: their names, schedules, limits and parameters.

`stepmark schedule` serves a deployment from its own process; `stepmark deploy` registers one for
the workers of a work pool.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    WorkPool,
)
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.types import BANNED_CHARACTERS
from prefect.types.entrypoint import EntrypointType

from pipelines.run.config import RunFile
from pipelines.run.flow import stepmark_run
from pipelines.run.flow_display import tags_of
from pipelines.run.run_date import DATE, date_in
from pipelines.stop_signals import StoppedError, cancelled_by_signals
from stepmark.errors import ConfigError
from stepmark.secrets import without_secrets

__all__ = [
    "DeploymentOptions",
    "ScheduleOptions",
    "build",
    "check_pool",
    "default_name",
    "job_variables_for",
    "register",
    "serve",
]

DEFAULT_TIMEZONE = "UTC"
DURATION = re.compile(r"(\d{1,9})\s*([smhd]?)")
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
# Prefect rejects some characters in names; the others are awkward in a shell.
NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
NAME_CHARACTERS = 60
DIGEST_CHARACTERS = 8
# How often the remaining runs of a stopped schedule are cancelled again.
CANCEL_SECONDS = 1.0
CONTAINER_POOLS = ("docker", "kubernetes")


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """When a deployment runs: at most one of the three kinds of schedules."""

    cron: str | None = None
    interval: str | None = None
    rrule: str | None = None
    timezone: str | None = None

    def __str__(self) -> str:
        kinds = {"cron": self.cron, "every": self.interval, "rule": self.rrule}
        texts = [f"{kind} {value} ({self.zone})" for kind, value in kinds.items() if value]
        return texts[0] if texts else "no schedule"

    def schedule(self) -> Schedule | None:
        """Return the schedule as Prefect stores it; None without one.

        Raises:
            ConfigError: There are several, or one is invalid.
        """
        kinds = [name for name in ("cron", "interval", "rrule") if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise ConfigError(f"give one of --cron, --interval and --rrule, not {len(kinds)}")
        date_in(self.zone, None)  # fails if there is no such time zone
        if self.cron is not None:
            return self._cron(self.cron)
        if self.rrule is not None:
            return self._rrule(self.rrule)
        if self.interval is not None:
            interval = _duration(self.interval)
            return Interval(interval, timezone=self.zone)
        return None

    @property
    def zone(self) -> str:
        """The time zone of the schedule and of `{date}`."""
        return DEFAULT_TIMEZONE if self.timezone is None else self.timezone

    def _cron(self, cron: str) -> Schedule:
        try:
            rule = CronSchedule(cron=cron, timezone=self.zone)
        except ValueError as error:
            raise ConfigError(
                f"--cron '{cron}' is not a cron expression; '0 2 * * *' is every night at two"
            ) from error
        _check_next_date(rule, f"--cron '{cron}'")
        return Cron(cron, timezone=self.zone)

    def _rrule(self, rrule: str) -> Schedule:
        try:
            rule = RRuleSchedule(rrule=rrule, timezone=self.zone)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"--rrule '{rrule}' is not a recurrence rule (RFC 5545); "
                "'FREQ=WEEKLY;BYDAY=MO;BYHOUR=2;BYMINUTE=0' is every Monday at two"
            ) from error
        _check_next_date(rule, f"--rrule '{rrule}'")
        return RRule(rrule, timezone=self.zone)


def _check_next_date(rule: CronSchedule | RRuleSchedule, option: str) -> None:
    """Check that a schedule has a date in the future.

    Raises:
        ConfigError: It has none, as on the 30th of February.
    """
    try:
        dates = asyncio.run(rule.get_dates(1))
    except ValueError as error:
        raise ConfigError(f"{option} has no next date: {error}") from error
    if not dates:
        raise ConfigError(f"{option} has no next date: choose dates in the future")


@dataclass(frozen=True, kw_only=True)
class DeploymentOptions:
    """What a deployment is called, when it runs and how often at the same time."""

    schedule: ScheduleOptions
    name: str | None = None
    concurrency: int = 1


def build(
    run_file: RunFile,
    template: str,
    options: DeploymentOptions,
    parameters: Mapping[str, Any],
    *,
    job_variables: Mapping[str, Any] | None = None,
) -> RunnerDeployment:
    """Return a deployment of the flow.

    A run that would exceed the limit of concurrent runs is cancelled by the server before it
    starts: it is skipped, and not a failure.

    Args:
        run_file: The settings, for the tags.
        template: The dataset as the run file names it, with `{date}`.
        options: The options of the command.
        parameters: The parameters of the flow.
        job_variables: Variables of the infrastructure that a work pool starts.

    Raises:
        ConfigError: The schedule or the name is invalid.
    """
    # The name and the description are displayed.
    public_template = without_secrets(template)
    dataset_tag = f"dataset:{without_secrets(run_file.dataset)}"
    tags = [tag for tag in tags_of(run_file) if tag != dataset_tag or DATE not in template]
    return RunnerDeployment.from_flow(
        stepmark_run,
        name=_valid_name(options.name or default_name(public_template)),
        schedule=options.schedule.schedule(),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=options.concurrency, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        parameters={**parameters, "timezone": options.schedule.zone},
        description=f"Makes the dataset {public_template}.",
        tags=tags,
        job_variables=dict(job_variables or {}),
        # Stepmark is installed where the flow runs, so no code is copied.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def default_name(dataset: str) -> str:
    """Return a name that no deployment of another dataset has.

    >>> default_name("s3://bucket/nightly-{date}")
    'nightly-date-a6288851'
    """
    location = dataset if "://" in dataset else str(Path(dataset).absolute())
    digest = hashlib.sha256(location.encode()).hexdigest()[:DIGEST_CHARACTERS]
    last = location.rstrip("/").rpartition("/")[2]
    plain = NOT_IN_NAME.sub("-", last).strip("-")[:NAME_CHARACTERS]
    return "-".join(re.sub("-+", "-", part) for part in (plain, digest) if part)


async def serve(deployment: RunnerDeployment) -> None:
    """Register a deployment, and run its flow when it is scheduled, until stopped.

    At its end the schedule is paused, and running flows are cancelled: they store what they have.

    Raises:
        StoppedError: SIGTERM or SIGHUP has ended it.
    """
    runner = _Runner(name=deployment.name, pause_on_shutdown=True)
    await runner.aadd_deployment(deployment)
    serving = asyncio.create_task(runner.start())

    async def wait() -> None:
        # The runner must not be cancelled: it would kill the processes of running flows.
        await asyncio.shield(serving)

    try:
        await cancelled_by_signals(wait())
    except (asyncio.CancelledError, StoppedError):
        await runner.astop()
        await serving
        raise


class _Runner(Runner):
    """Prefect's runner without two of its mistakes at the end.

    Its own handler of SIGTERM starts a coroutine that nothing awaits. And while it stops it does
    not cancel a run that has no process yet, but waits until this run is complete.
    """

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the event loop handles the signal, see `serve`."""

    async def cancel_all(self) -> None:
        """Cancel the runs that have a process, until no run is left."""
        await super().cancel_all()
        while self._scheduled_run_poller._submitting_flow_run_ids:
            await asyncio.sleep(CANCEL_SECONDS)
            await super().cancel_all()


async def check_pool(name: str) -> WorkPool:
    """Return a work pool of the server.

    Raises:
        ConfigError: There is none of this name.
    """
    async with get_client() as client:
        try:
            return await client.read_work_pool(name)
        except ObjectNotFound as error:
            raise ConfigError(
                f"no work pool '{name}': make one with "
                f"`prefect work-pool create {name} --type process` (or docker, kubernetes)"
            ) from error


async def register(deployment: RunnerDeployment, pool: WorkPool, image: str | None) -> None:
    """Register a deployment for the workers of a pool.

    Raises:
        ConfigError: The server rejects it.
    """
    try:
        await deployment.aapply(work_pool_name=pool.name, image=image)
    except PrefectException as error:
        raise ConfigError(f"Prefect rejects the deployment: {error}") from error


def job_variables_for(
    pool: WorkPool, dataset: str, image: str | None, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the variables of the infrastructure of a run, and check that its dataset survives it.

    Raises:
        ConfigError: A container needs an image, or would take the dataset with it when it ends.
    """
    is_local = "://" not in dataset
    if pool.type == "process":
        # Prefect would run the flow in a temporary folder, and remove it.
        return {"working_dir": str(Path.cwd()), **given}
    if pool.type in CONTAINER_POOLS and image is None:
        raise ConfigError(f"a {pool.type} pool needs --image; docs/operations.md builds one")
    if pool.type == "docker" and is_local and not given.get("volumes"):
        raise ConfigError(
            f"{dataset} would be lost with its container: use a URI such as s3://bucket/name, or "
            "mount a folder with --job-variable 'volumes=[\"/data:/app/data\"]'"
        )
    return given


def _valid_name(name: str) -> str:
    """Return the name, after a check that Prefect accepts it and commands can select it."""
    banned = [character for character in BANNED_CHARACTERS if character in name]
    if banned or not name.isprintable() or not name.strip():
        raise ConfigError(
            f"--name '{name}': a name is text without {' '.join(BANNED_CHARACTERS)} and line breaks"
        )
    return name


def _duration(text: str) -> timedelta:
    match = DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not seconds:
        raise ConfigError(f"--interval '{text}' is not a duration; write it as 30m, 6h or 1d")
    return timedelta(seconds=seconds)
