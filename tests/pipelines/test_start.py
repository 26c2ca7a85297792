"""The start of a command: its first line, what it imports, and whether it uses a server."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.run.prefect_server import configured_url
from storage.dataset.dataset import Dataset
from tests.pipelines.running import (
    REPOSITORY,
    WAIT_SECONDS,
    clean_environment,
    finish,
    run_file,
    start,
)
from tests.storage.samples import fill

URL = "http://127.0.0.1:9/api"


def test_run_imports_only_what_it_needs(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    environment = clean_environment(tmp_path / "home")
    for command in ("run", "label"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "pipelines", command, path],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=True,
        )
        assert done.stdout.splitlines()[0] == f"{command} {path} into {tmp_path / 'dataset'}"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    # Everything is finished, so that neither a server nor a prover is needed.
    assert "pipelines.run.execution" in imported
    assert imported.isdisjoint({"prefect", "sympy", "z3", "math_verify", "openai"})


def test_query_imports_only_what_it_needs(tmp_path: Path) -> None:
    dataset = str(tmp_path / "dataset")
    fill(Dataset(dataset))
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "-m", "pipelines", "sql"),
            *("--dataset", dataset, "--format", "csv", "SELECT count(*) FROM traces"),
        ],
        cwd=REPOSITORY,
        env=clean_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    assert done.stdout == "count_star()\n3\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "duckdb" in imported
    heavy = {"prefect", "pandas", "psutil", "prompt_toolkit", "pygments", "pyarrow.compute"}
    assert imported.isdisjoint({*heavy, "pipelines.cli.run_flow"})


def test_closed_output_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m pipelines list >&-",
        shell=True,
        cwd=REPOSITORY,
        env=clean_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("output", "status", "error"),
    [
        (">/dev/full", 2, "stepmark: the output cannot be written: No space left on device\n"),
        (">/dev/full 2>/dev/full", 2, ""),
        ("| true; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_failing_output_is_one_line(output: str, status: int, error: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pipelines list {output}"],
        cwd=REPOSITORY,
        env=clean_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, error)


INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["stepmark", "list"]
from pipelines.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["pipelines.terminal", "pipelines.cli.app", "typer"])
def test_interrupted_import_is_silent(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module)],
        cwd=REPOSITORY,
        env=clean_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_interrupted_question_changes_nothing(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    environment = clean_environment(tmp_path / "home")
    assert finish(start("run", path, environment=environment))[0] == 0
    before = sorted((tmp_path / "dataset").rglob("*.parquet"))
    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run", path, "--set", "seed=5"],
        cwd=REPOSITORY,
        env=environment,
        stdin=stdin,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert process.stderr is not None
        question = b""
        while not question.endswith(b"Replace them now? [y/N]: "):
            part = os.read(process.stderr.fileno(), 1000)
            assert part, question
            question += part
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 130
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
        os.close(stdin)
    assert sorted((tmp_path / "dataset").rglob("*.parquet")) == before


def test_no_server_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert configured_url() is None


@pytest.mark.parametrize("profiles", ["broken = = [", None])
def test_broken_settings_are_no_traceback(profiles: str | None, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = clean_environment(home, PREFECT_HOME=str(home))
    if profiles is None:
        environment["PREFECT_API_URL"] = "http://[::1"
    else:
        (home / "profiles.toml").write_text(profiles)
    status, _, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (status, "Traceback" in err) == (2, False)
    # Prefect may print warnings before it.
    assert err.splitlines()[-1].startswith("stepmark: Prefect cannot read its settings")


FILES = {
    "profiles.toml": f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{URL}"\n',
    "prefect.toml": f'[api]\nurl = "{URL}"\n',
    "pyproject.toml": f'[tool.prefect.api]\nurl = "{URL}"\n',
    ".env": f"PREFECT_API_URL={URL}\n",
}


@pytest.mark.parametrize("name", [*FILES, "PREFECT_API_URL"])
def test_configured_server_is_found(name: str, tmp_path: Path) -> None:
    # Prefect reads its settings when it is imported, which this process may have done.
    environment = clean_environment(tmp_path, PREFECT_HOME=".", PYTHONPATH=str(REPOSITORY))
    if name in FILES:
        (tmp_path / name).write_text(FILES[name])
    else:
        environment[name] = URL
    code = "from pipelines.run.prefect_server import configured_url; print(configured_url())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,
    )
    assert done.stdout.strip() == URL
