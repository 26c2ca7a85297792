"""A run that is interrupted, then killed, then run again: nothing lost, nothing twice, nothing left behind; without a Prefect server."""

import hashlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from storage.dataset.dataset import Dataset
from storage.queries.sql import query
from tests.pipelines.running import (
    WAIT_SECONDS,
    alone,
    complaints,
    finish,
    run_file,
    start,
    wait_for,
)

TWICE = """
SELECT (SELECT count(*) - count(DISTINCT problem_id) FROM problems) + (SELECT count(*) - count(DISTINCT trace_id) FROM traces)
     + (SELECT count(*) - count(DISTINCT rollout_id) FROM rollouts)
     + (SELECT count(*) - count(DISTINCT (trace_id, method)) FROM annotations)
     + (SELECT count(*) - count(DISTINCT trace_id) FROM labels)
"""
MISSING = """
SELECT count(*) FROM traces t CROSS JOIN (VALUES ('monte_carlo'), ('formal'), ('oracle')) m(method)
LEFT JOIN annotations a ON a.trace_id = t.trace_id AND a.method = m.method LEFT JOIN labels l ON l.trace_id = t.trace_id
WHERE a.trace_id IS NULL OR l.trace_id IS NULL
"""
PROBLEMS, TRACES_EACH = 6, 2


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The pocket model, one small shard after the other, so that there is always something finished and something not."""
    return run_file(
        tmp_path,
        problems={"use": "word_problems", "count": PROBLEMS},
        engine={"use": "pocket", "workers": 1},
        generate={"traces_per_problem": TRACES_EACH, "max_tokens": 120, "prompt": "pocket"},
        annotators=[{"use": "monte_carlo", "rollouts": 2}, {"use": "formal"}],
        shards={"problems_per_shard": 2, "shards_in_flight": 1},
    )


def parts(dataset: Dataset) -> Mapping[str, tuple[str, int]]:
    """Every finished part, by its bytes and its time."""
    found = Path(dataset.uri).rglob("part-*.parquet")
    return {
        str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in found
    }


def stop(
    path: str, environment: dict[str, str], once: Path, how: signal.Signals, *, all_at_once: bool
) -> int:
    """Start a run, stop it once a part is there, and see that no process of it is left and its output is closed."""
    run = start("run", path, environment=environment)
    wait_for(once.exists, run)
    family = psutil.Process(run.pid).children(recursive=True)
    assert any("prefect" in " ".join(process.cmdline()) for process in family), (
        "there is a temporary Prefect server"
    )
    if all_at_once:
        os.killpg(run.pid, how)
    else:
        run.send_signal(how)
    code, out, err = finish(run)
    assert (out, complaints(err)) == ("", [])
    _, alive = psutil.wait_procs(family, timeout=WAIT_SECONDS)
    assert not alive
    return code


def test_interrupted_killed_and_run_again(path: str, tmp_path: Path) -> None:
    dataset, environment = Dataset(str(tmp_path / "dataset")), alone(tmp_path / "home")
    first = Path(dataset.uri, "traces/part-00000.parquet")
    interrupted = stop(
        path, environment, first, signal.SIGINT, all_at_once=True
    )  # as a terminal's Ctrl-C
    assert interrupted == 130
    kept = parts(dataset)
    assert str(first) in kept

    later = Path(dataset.uri, "traces/part-00001.parquet")
    assert not later.exists(), "else there is nothing to kill: make the run longer"
    killed = stop(path, environment, later, signal.SIGKILL, all_at_once=False)
    assert killed == -signal.SIGKILL
    before = parts(dataset)
    assert kept.items() <= before.items()
    assert not Path(dataset.uri, "labels/part-00002.parquet").exists()

    code, out, err = finish(start("run", path, environment=environment))
    assert (code, complaints(err)) == (0, [])
    assert f"{PROBLEMS * TRACES_EACH}: " in out
    after = parts(dataset)
    assert before.items() <= after.items()
    assert query(dataset, TWICE).to_pylist()[0].popitem()[1] == 0
    assert query(dataset, MISSING).to_pylist()[0].popitem()[1] == 0
    assert query(dataset, "SELECT count(*) n FROM traces").to_pylist() == [
        {"n": PROBLEMS * TRACES_EACH}
    ]
    assert [file.name for file in Path(dataset.uri).rglob(".*") if file.is_file()] == [".lock"], (
        "drafts of the killed runs are swept"
    )


def test_a_run_needs_no_home(tmp_path: Path) -> None:
    """And writes nothing into one: a home folder that cannot be made, on a machine without network or telemetry."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    proxies = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    environment = {**alone(tmp_path / "home"), "HOME": str(blocked / "home"), **proxies}
    code, out, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (code, complaints(err)) == (0, [])
    assert "8 incorrect" in out


def test_a_configured_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    environment = alone(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")
    code, out, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no Prefect server answers at http://127.0.0.1:9/api" in err
