"""A run that is interrupted, killed and run again, without a configured Prefect server."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import tomli_w

from benchmarks.torture.benchmark import Torture, TortureSettings
from benchmarks.torture.comparison import stored_completions
from benchmarks.torture.process import COMMAND
from benchmarks.torture.token_log import TokenCounts, read_counts
from storage.dataset.dataset import Dataset
from tests.pipelines.running import (
    WAIT_SECONDS,
    clean_environment,
    error_lines,
    finish,
    run_file,
    start,
    start_module,
    wait_for,
)

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
# Finished completions that a kill may lose on average. The run stores
# completions every 0.05 s, and the model needs that time for one or two; a busy machine writes
# them later.
LOST_PER_KILL = 6


def test_kills_change_no_row(tmp_path: Path) -> None:
    settings = TortureSettings(problems=3, problems_per_shard=1)
    result = Torture(folder=tmp_path, kills=5, seed=2).run(settings)
    assert result.errors == []
    # On an uneven machine a process can end before its kill.
    assert result.kills >= 3
    lost = result.killed - result.undisturbed
    assert lost.completions <= LOST_PER_KILL * result.kills


def part_states(dataset: Dataset) -> Mapping[str, tuple[str, int]]:
    """Return the digest and modification time of every finished part."""
    states = dict[str, tuple[str, int]]()
    for file in Path(dataset.uri).rglob("part-*.parquet"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        states[str(file)] = (digest, file.stat().st_mtime_ns)
    return states


def stop_command(
    folder: Path, signal_: signal.Signals, *, completions: int, whole_group: bool
) -> tuple[int, TokenCounts]:
    """Start the command, and signal it after some more completions.

    Checks that no process of the run is left and that its output is closed.

    Returns:
        The exit status, and what the model had written a second before the signal.
    """
    run = start_command(folder)
    before = read_counts(folder).completions
    wait_for(lambda: read_counts(folder).completions >= before + completions, run)
    answered = read_counts(folder)
    # The model logs a completion just before the run receives it.
    time.sleep(1)
    # Read before the signal: children of an ended process cannot be found.
    children = psutil.Process(run.pid).children(recursive=True)
    if whole_group:
        os.killpg(run.pid, signal_)
    else:
        run.send_signal(signal_)
    status, out, err = finish(run)
    assert out.startswith("run ")
    lines = error_lines(err)
    if signal_ is signal.SIGKILL:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"stepmark: stopped by {NAMES[signal_]}: finished parts and all")
        assert line.endswith("; run the same command again to go on")
    _, alive = psutil.wait_procs(children, timeout=WAIT_SECONDS)
    assert not alive
    return status, answered


def start_command(folder: Path) -> "subprocess.Popen[str]":
    """Start the command on the run file of a folder; its model logs to the folder."""
    arguments = (str(folder), COMMAND, str(folder / "run.toml"))
    environment = clean_environment(folder / "home")
    return start_module("benchmarks.torture.process", *arguments, environment=environment)


def test_stopped_command_resumes(tmp_path: Path) -> None:
    # Nothing is stored before a shard ends, except by the signals.
    settings = TortureSettings(problems=16, problems_per_shard=4, flush_seconds=3600)
    content = tomli_w.dumps(settings.run_file(tmp_path))
    (tmp_path / "run.toml").write_text(content, encoding="utf-8")
    dataset = Dataset(str(tmp_path / "dataset"))
    for signal_, status in (
        # Ctrl-C in a terminal signals the whole process group. The statuses are those of a shell.
        (signal.SIGINT, 128 + signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
    ):
        already_stored = sum(stored_completions(dataset).values())
        already_written = read_counts(tmp_path).finished_tokens
        ended, answered = stop_command(tmp_path, signal_, completions=8, whole_group=True)
        assert ended == status
        stored = sum(stored_completions(dataset).values()) - already_stored
        assert stored >= answered.finished_tokens - already_written

    after_signals = part_states(dataset)
    # Only the command gets the signal, so that its children have to notice its end.
    ended, _ = stop_command(tmp_path, signal.SIGKILL, completions=2, whole_group=False)
    assert ended == -signal.SIGKILL
    assert not Path(dataset.uri, "labels/part-00003.parquet").exists()
    after_kill = part_states(dataset)

    status, out, err = finish(start_command(tmp_path))
    assert (status, error_lines(err)) == (0, [])
    assert "32: " in out
    final = part_states(dataset)
    for states in (after_signals, after_kill):
        for file, state in states.items():
            # No finished part is rewritten, not even with equal bytes.
            assert final[file] == state
    hidden_files = [file.name for file in Path(dataset.uri).rglob(".*") if file.is_file()]
    assert hidden_files == [".lock"], "unfinished files of the killed runs are removed"


def test_unreachable_server_is_one_line(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")
    status, out, err = finish(start("run", run_file(tmp_path), environment=environment))
    assert (status, out.count("\n"), err.count("\n")) == (2, 1, 1)
    assert "no Prefect server answers at http://127.0.0.1:9/api" in err
