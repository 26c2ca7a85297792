"""The names, schedules and checks of deployments; `test_operations` runs them on a server."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest
import ruamel.yaml
from prefect.client.schemas.objects import WorkPool

from pipelines.run import deployments
from pipelines.run.config import parse
from pipelines.run.deployments import (
    DeploymentOptions,
    ScheduleOptions,
    build,
    default_name,
    job_variables_for,
)
from pipelines.run.flow import stepmark_run
from stepmark.errors import ConfigError

ROOT = Path(__file__).parents[2]


def pool(kind: str) -> WorkPool:
    return WorkPool.model_construct(name="p", type=kind)


def test_schedules_have_a_time_zone() -> None:
    cron = ScheduleOptions(cron="0 2 * * *", timezone="Europe/Berlin").schedule()
    assert cron is not None
    assert (cron.cron, cron.timezone) == ("0 2 * * *", "Europe/Berlin")
    interval = ScheduleOptions(interval="6h").schedule()
    assert interval is not None
    assert (interval.interval, interval.timezone) == (timedelta(hours=6), "UTC")
    rrule = ScheduleOptions(rrule="FREQ=WEEKLY;BYDAY=MO").schedule()
    assert rrule is not None
    assert rrule.rrule == "FREQ=WEEKLY;BYDAY=MO"
    assert ScheduleOptions().schedule() is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cron": "0 2 * *"}, "is not a cron expression"),
        ({"cron": ""}, "is not a cron expression"),
        ({"cron": "0 0 30 2 *"}, "has no next date"),
        ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "has no next date"),
        ({"interval": "0"}, "is not a duration"),
        ({"interval": "soon"}, "is not a duration"),
        ({"interval": "-5m"}, "is not a duration"),
        ({"rrule": "FREQ=NEVER"}, "is not a recurrence rule"),
        ({"cron": "0 2 * * *", "interval": "1d"}, "not 2"),
        ({"cron": "0 2 * * *", "timezone": "Berlin"}, "is not a time zone"),
    ],
)
def test_invalid_schedule_is_one_line(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ScheduleOptions(**options).schedule()


def test_default_name_depends_on_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set[str]()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        names.add(default_name("data/x"))
    names.add(default_name(str(tmp_path / "a" / "data" / "y")))
    names.add(default_name("s3://bucket/x"))
    assert len(names) == 4
    # The same dataset under another spelling.
    assert default_name(str(tmp_path / "b" / "data" / "x")) in names
    for name in (*names, default_name("data/{date}/nächtlich & more/")):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name)


def test_deployment_skips_overlaps() -> None:
    run_file = parse({"dataset": "data/x-2026-11-30", "engine": {"use": "pocket"}}, "run.toml")
    options = DeploymentOptions(schedule=ScheduleOptions(cron="0 2 * * *"), concurrency=2)
    deployment = build(run_file, "data/x-{date}", options, {"run_file": "run.toml"})
    assert deployment.concurrency_limit == 2
    assert deployment.concurrency_options is not None
    assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert deployment.parameters == {"run_file": "run.toml", "timezone": "UTC"}
    # The dataset of a run is its own tag, so the day of the registration is none.
    assert deployment.tags == ["model:pocket"]
    assert deployment.entrypoint == "pipelines.run.flow.stepmark_run"


@pytest.mark.parametrize("name", ["a/b", "100%", "a\nb", " "])
def test_invalid_name_is_one_line(name: str) -> None:
    run_file = parse({"dataset": "data/x", "engine": {"use": "pocket"}}, "run.toml")
    options = DeploymentOptions(schedule=ScheduleOptions(), name=name)
    with pytest.raises(ConfigError, match="a name is text without"):
        build(run_file, "data/x", options, {})


def test_deployment_shows_no_secret() -> None:
    template = "https://me:canary-9b1f@host/data"
    run_file = parse({"dataset": template, "engine": {"use": "pocket"}}, "run.toml")
    deployment = build(run_file, template, DeploymentOptions(schedule=ScheduleOptions()), {})
    assert "canary-9b1f" not in deployment.model_dump_json()


def test_process_runs_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variables = job_variables_for(pool("process"), "data/x", None, {"env": {"A": "1"}})
    assert variables == {"working_dir": str(tmp_path), "env": {"A": "1"}}
    given = job_variables_for(pool("process"), "data/x", None, {"working_dir": "/other"})
    assert given["working_dir"] == "/other"


def test_container_must_keep_the_dataset() -> None:
    with pytest.raises(ConfigError, match="needs --image"):
        job_variables_for(pool("kubernetes"), "s3://b/x", None, {})
    with pytest.raises(ConfigError, match="would be lost with its container"):
        job_variables_for(pool("docker"), "data/x", "stepmark", {})
    assert job_variables_for(pool("docker"), "s3://b/x", "stepmark", {}) == {}
    volumes = {"volumes": ["/data:/app/data"]}
    assert job_variables_for(pool("docker"), "data/x", "stepmark", volumes) == volumes


def test_prefect_yaml_names_existing_things() -> None:
    content = ruamel.yaml.YAML(typ="safe").load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    (deployment,) = content["deployments"]
    file_name, _, name = deployment["entrypoint"].partition(":")
    assert f"import {name}" in (ROOT / file_name).read_text(encoding="utf-8")
    assert name == stepmark_run.fn.__name__
    assert deployment["parameters"].keys() <= set(stepmark_run.parameters.properties)
    assert (ROOT / deployment["parameters"]["run_file"]).exists()
    assert deployment["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"


def test_image_is_built_without_network() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    words = {command.split()[0] for command in commands}
    assert words <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "CMD"}
    for command in commands:
        if "pip install" in command:
            assert "--no-index --find-links /wheels" in command
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    copied = [command.split()[1].rstrip("/") for command in commands if command.startswith("COPY")]
    assert [name for name in copied if f"!{name}" not in ignored] == []


class LateRun:
    """A run that has no process yet when all runs are cancelled for the first time."""

    def __init__(self) -> None:
        self._submitting_flow_run_ids = {"run"}
        self.cancellations = 0

    async def cancel_all(self) -> None:
        self.cancellations += 1
        if self.cancellations > 1:
            self._submitting_flow_run_ids.clear()


def test_run_without_process_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "CANCEL_SECONDS", 0.0)
    runner = deployments._Runner(name="r")
    late = LateRun()
    monkeypatch.setattr(runner, "_scheduled_run_poller", late, raising=False)
    monkeypatch.setattr(runner, "_cancellation_manager", late, raising=False)
    asyncio.run(runner.cancel_all())
    assert late.cancellations == 2
