"""A run that is interrupted, killed and run again, without a configured Prefect server."""

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
    clean_environment,
    error_lines,
    finish,
    run_file,
    start,
    wait_for,
)

# Resuming must not write a row a second time.
DUPLICATES = """
SELECT (SELECT count(*) - count(DISTINCT problem_id) FROM problems)
     + (SELECT count(*) - count(DISTINCT trace_id) FROM traces)
     + (SELECT count(*) - count(DISTINCT rollout_id) FROM rollouts)
     + (SELECT count(*) - count(DISTINCT (trace_id, method)) FROM annotations)
     + (SELECT count(*) - count(DISTINCT trace_id) FROM labels) AS n
"""
# Every trace has all annotations and a label after the resumed run.
MISSING = """
SELECT count(*) AS n
FROM traces t
CROSS JOIN (VALUES ('monte_carlo'), ('formal'), ('oracle')) m(method)
LEFT JOIN annotations a ON a.trace_id = t.trace_id AND a.method = m.method
LEFT JOIN labels l ON l.trace_id = t.trace_id
WHERE a.trace_id IS NULL OR l.trace_id IS NULL
"""
# Three shards: one to interrupt, one to kill, and one that is still missing afterwards.
PROBLEMS = 6
TRACES_PER_PROBLEM = 2
TRACES = PROBLEMS * TRACES_PER_PROBLEM


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A run file for the pocket model with one small shard at a time.

    While it runs there is always something finished and something unfinished.
    """
    return run_file(
        tmp_path,
        problems={"use": "word_problems", "count": PROBLEMS},
        engine={"use": "pocket", "workers": 1},
        generate={"traces_per_problem": TRACES_PER_PROBLEM, "max_tokens": 120, "prompt": "pocket"},
        annotators=[{"use": "monte_carlo", "rollouts": 2}, {"use": "formal"}],
        shards={"problems_per_shard": 2, "shards_in_flight": 1},
    )


def part_states(dataset: Dataset) -> Mapping[str, tuple[str, int]]:
    """Return the digest and modification time of every finished part."""
    states = dict[str, tuple[str, int]]()
    for file in Path(dataset.uri).rglob("part-*.parquet"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        states[str(file)] = (digest, file.stat().st_mtime_ns)
    return states


def stop_run(
    path: str,
    environment: dict[str, str],
    part: Path,
    signal_: signal.Signals,
    *,
    whole_group: bool,
) -> int:
    """Start a run, signal it once a part exists, and return its exit status.

    Checks that no process of the run is left and that its output is closed.
    """
    run = start("run", path, environment=environment)
    wait_for(part.exists, run)
    # Read before the signal: children of an ended process cannot be found.
    children = psutil.Process(run.pid).children(recursive=True)
    commands = [" ".join(process.cmdline()) for process in children]
    assert any("prefect" in command for command in commands), "there is a temporary Prefect server"
    if whole_group:
        os.killpg(run.pid, signal_)
    else:
        run.send_signal(signal_)
    status, out, err = finish(run)
    assert (out, error_lines(err)) == ("", [])
    _, alive = psutil.wait_procs(children, timeout=WAIT_SECONDS)
    assert not alive
    return status


def count(dataset: Dataset, sql: str) -> int:
    (row,) = query(dataset, sql).to_pylist()
    number: int = row["n"]
    return number


def test_killed_run_resumes(path: str, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "dataset"))
    environment = clean_environment(tmp_path / "home")
    first = Path(dataset.uri, "traces/part-00000.parquet")
    # Ctrl-C in a terminal signals the whole process group.
    interrupted = stop_run(path, environment, first, signal.SIGINT, whole_group=True)
    # The exit status of a shell for SIGINT: 128 + 2.
    assert interrupted == 130
    after_interrupt = part_states(dataset)
    assert str(first) in after_interrupt

    second = Path(dataset.uri, "traces/part-00001.parquet")
    assert not second.exists(), "nothing is left to kill: make the run longer"
    # Only the command gets the signal, so that its children have to notice its end.
    killed = stop_run(path, environment, second, signal.SIGKILL, whole_group=False)
    assert killed == -signal.SIGKILL
    after_kill = part_states(dataset)
    # No finished part is rewritten, not even with equal bytes.
    assert after_interrupt.items() <= after_kill.items()
    assert not Path(dataset.uri, "labels/part-00002.parquet").exists()

    status, out, err = finish(start("run", path, environment=environment))
    assert (status, error_lines(err)) == (0, [])
    assert f"{TRACES}: " in out
    assert after_kill.items() <= part_states(dataset).items()
    assert count(dataset, DUPLICATES) == 0
    assert count(dataset, MISSING) == 0
    assert count(dataset, "SELECT count(*) AS n FROM traces") == TRACES
    hidden_files = [file.name for file in Path(dataset.uri).rglob(".*") if file.is_file()]
    assert hidden_files == [".lock"], "unfinished files of the killed runs are removed"


def test_run_needs_no_home(tmp_path: Path) -> None:
    """The home folder cannot be created, and the network is unreachable."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    # Port 9 of the local machine is the discard port, on which nothing listens.
    proxies = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    environment = clean_environment(tmp_path / "home", **proxies)
    # A folder below a file cannot be created, not even by root.
    environment["HOME"] = str(blocked / "home")
    status, out, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (status, error_lines(err)) == (0, [])
    assert "8 incorrect" in out


def test_unreachable_server_is_one_line(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")
    status, out, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no Prefect server answers at http://127.0.0.1:9/api" in err
