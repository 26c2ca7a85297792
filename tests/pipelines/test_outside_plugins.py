"""Runs with plugin files, and run files in datasets, which load none."""

import asyncio
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tomli_w

from pipelines.__main__ import main
from pipelines.run import plan as planning
from pipelines.run.code_folder import code_folder_of
from pipelines.run.config import load
from pipelines.run.execution import run_without_server
from pipelines.run.meter import Meter
from pipelines.run.migration import migrate
from pipelines.run.preparation import prepare
from pipelines.run.retries import RETRIES
from pipelines.run.workers import coordinator, worker
from pipelines.run.workers.protocol import Start
from stepmark.errors import ConfigError, PluginError
from storage.dataset.dataset import Dataset
from storage.queries.sql import query
from tests.pipelines.one_verifier import use_one_verifier
from tests.pipelines.rows import counts_by_name
from tests.pipelines.running import REPOSITORY, run_file
from tests.pipelines.test_migration import FIXTURE
from tests.stepmark.outside_plugins import MARKING, code_of, plugin_file

OUTCOME = REPOSITORY / "annotators" / "methods" / "outcome.py"
FILTER = [{"use": "code/short.py", "limit": 0}]

Stepmark = Callable[..., tuple[int, str]]


@pytest.fixture
def stepmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Stepmark:
    """Run a command from a folder of its own; return its exit status and its output."""
    use_one_verifier(monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, whose filter is a file."""
    folder = tmp_path_factory.mktemp("run")
    plugin_file(folder / "code" / "short.py")
    shutil.copy(OUTCOME, folder / "code" / "answer.py")
    path = Path(run_file(folder, filters=FILTER, annotators=[{"use": "code/answer.py"}]))
    job = prepare(load(path), makes_traces=True, code_folder=code_folder_of(path))
    rows = asyncio.run(run_without_server(job, makes_traces=True))
    summary = counts_by_name(rows)
    # The run has the filter of the file, and the summary names it.
    assert summary["dropped by short"].isdigit()
    return folder


def test_stored_run_file_has_relative_path(finished: Path) -> None:
    stored = Dataset(str(finished / "dataset")).read_run_files()[0]
    assert tomllib.loads(stored)["filters"] == FILTER
    assert str(finished) not in stored.replace(str(finished / "dataset"), "")
    (reason,) = query(
        Dataset(str(finished / "dataset")), "SELECT DISTINCT reason FROM labels WHERE NOT kept"
    ).to_pydict()["reason"]
    assert reason == "short: a long question"


def test_workers_load_the_same_file(finished: Path) -> None:
    path = finished / "run.toml"
    job = prepare(load(path), makes_traces=True, code_folder=code_folder_of(path))
    message = coordinator._start(job, 2, makes_traces=True, retries=RETRIES)
    start = Start.of(json.loads(json.dumps(message.fields())))
    assert start.code_folder == str(finished)
    worker_plan = worker._job(start, Meter()).plan
    assert worker_plan.filters == job.plan.filters
    edited = replace(start, plugin_files={**start.plugin_files, "filters.short": "0"})
    with pytest.raises(ConfigError, match=r"the plugin file of filters.short in .* is not the one"):
        worker._job(edited, Meter())


def test_finished_dataset_is_verified(finished: Path, stepmark: Stepmark) -> None:
    status, output = stepmark("verify", "--dataset", str(finished / "dataset"))
    assert status == 0, output


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = Path(run_file(tmp_path, filters=FILTER))
    with pytest.raises(PluginError, match=r"there is no plugin file .*short.py on this machine"):
        planning.build(load(path), code_folder=code_folder_of(path))


def test_two_files_with_one_id(tmp_path: Path) -> None:
    plugin_file(tmp_path / "a" / "short.py")
    plugin_file(tmp_path / "b" / "short.py", code_of(limit=3))
    twice = [{"use": "a/short.py"}, {"use": "a/short.py", "limit": 2}]
    path = Path(run_file(tmp_path, filters=twice))
    assert len(planning.build(load(path), code_folder=tmp_path).filters) == 2
    path = Path(run_file(tmp_path, filters=[*twice, {"use": "b/short.py"}]))
    with pytest.raises(ConfigError, match=r"two plugin files have the id filters.short"):
        planning.build(load(path), code_folder=tmp_path)


def poisoned(finished: Path, folder: Path) -> Path:
    """Return a copy of the dataset with code, which its run file names in every table."""
    copy = shutil.copytree(finished / "dataset", folder / "dataset")
    plugin_file(copy / "evil.py", MARKING)
    tables = tomllib.loads((copy / "run.toml").read_text())
    for name in ("problems", "engine", "label"):
        tables[name] = {"use": "evil.py"}
    for name in ("annotators", "filters"):
        tables[name] = [{"use": "evil.py"}]
    tables["dataset"] = str(copy)
    (copy / "run.toml").write_text(tomli_w.dumps(tables))
    return copy


@pytest.mark.parametrize("folder", ["", "configs"])
@pytest.mark.parametrize("command", ["run", "label", "plan", "check"])
def test_run_file_in_dataset_loads_nothing(
    command: str, folder: str, finished: Path, tmp_path: Path, stepmark: Stepmark
) -> None:
    dataset = poisoned(finished, tmp_path)
    if folder:
        for name in ("run.toml", "evil.py"):
            (dataset / folder).mkdir(exist_ok=True)
            shutil.move(dataset / name, dataset / folder)
    status, output = stepmark(command, str(dataset / folder / "run.toml"))
    assert status == 2
    assert "'evil.py' is a plugin file, and no code is loaded here" in output


@pytest.mark.parametrize("table", ["discovered/search", "annotations/judge", "labels"])
def test_dataset_without_traces_loads_nothing(table: str, tmp_path: Path) -> None:
    assert code_folder_of(tmp_path / "dataset" / "run.toml") == tmp_path / "dataset"
    part = tmp_path / "dataset" / table / "part-00000.parquet"
    part.parent.mkdir(parents=True)
    part.touch()
    assert code_folder_of(tmp_path / "dataset" / "run.toml") is None


@pytest.mark.parametrize(
    "command",
    [
        ("sql", "SELECT count(*) FROM step_values"),
        ("score", "--gold", "answer"),
        ("verify",),
        ("export", "trl", "--labels", "answer", "--to", "exported"),
    ],
    ids=lambda command: command[0],
)
def test_commands_load_no_stored_code(
    command: tuple[str, ...], finished: Path, tmp_path: Path, stepmark: Stepmark
) -> None:
    dataset = poisoned(finished, tmp_path)
    _, output = stepmark(*command, "--dataset", str(dataset))
    assert "this code was executed" not in output
    assert not any(name.endswith(".evil") for name in sys.modules)


def test_migration_loads_no_stored_code(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = shutil.copytree(FIXTURE / "dataset", tmp_path / "dataset")
    plugin_file(old / "evil.py", MARKING)
    tables = tomllib.loads((old / "run.toml").read_text())
    tables["label"] = {"use": "evil.py"}
    (old / "run.toml").write_text(tomli_w.dumps(tables))
    monkeypatch.chdir(old)
    asyncio.run(migrate(Dataset(str(old))))
    assert not any(name.endswith(".evil") for name in sys.modules)


FORMAT = '''"""Questions."""
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
import pyarrow as pa
from storage.formats.base import Example, LeftOut, Row
__all__ = ["Questions"]
@dataclass(frozen=True, kw_only=True)
class Questions:
    """Questions only."""
    version: ClassVar[int] = 1
    schema: ClassVar[pa.Schema] = pa.schema([("question", pa.string())])
    split: ClassVar[str] = "train"
    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield one row per example."""
        yield {"question": example.problem.question}
'''
VALUES = '''"""A constant."""
from dataclasses import dataclass
from typing import ClassVar
__all__ = ["Constant"]
@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant."""
    number: float = 0.5
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ()
    sql: ClassVar[str] = """
        SELECT trace_id, step_index, number AS value FROM estimates WHERE method = 'answer'
    """
'''


def test_format_and_values_of_files(finished: Path, stepmark: Stepmark) -> None:
    dataset = str(finished / "dataset")
    plugin_file(Path("questions.py"), FORMAT)
    plugin_file(Path("constant.py"), VALUES)
    options = ("--labels", "answer", "--dataset", dataset, "--to")
    status, output = stepmark("export", "questions.py", "--processes", "2", *options, "a")
    assert status == 0, output
    assert "the format `questions`" in Path("a/README.md").read_text()
    status, output = stepmark(
        "export", "soft_labels", "--values", "constant.py", "--with", "number=1", *options, "b"
    )
    assert status == 0, output
    values = pq.read_table("b/data").column("values").to_pylist()
    assert values
    assert all(set(row) == {1.0} for row in values)
