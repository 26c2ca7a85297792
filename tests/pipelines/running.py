"""Small runs of the command in separate processes, with the scripted engine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w

# The time after which a test gives up on another process. Nothing is measured.
WAIT_SECONDS = 240
REPOSITORY = Path(__file__).parents[2]


def run_file(folder: Path, **tables: object) -> str:
    """Write a run file of four problems in two shards, with a model that repeats one reply.

    Args:
        folder: The folder of the run file and of its dataset.
        **tables: Tables that replace the default ones.

    Returns:
        The path of the run file.
    """
    content = {
        "dataset": str(folder / "dataset"),
        "problems": {"use": "word_problems", "count": 4},
        # The same reply for all problems, which answers none of the four correctly.
        "engine": {"use": "scripted", "replies": {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}},
        "generate": {"traces_per_problem": 2},
        "annotators": [{"use": "formal"}],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
        "shards": {"problems_per_shard": 2},
    }
    folder.mkdir(exist_ok=True)
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps({**content, **tables}), encoding="utf-8")
    return str(path)


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment with a new home folder and without Prefect settings.

    Args:
        home: The home folder, which is created.
        **variables: Additional variables, such as the URL of a Prefect server.
    """
    home.mkdir(exist_ok=True)
    environment = dict[str, str]()
    # This process has Prefect settings for the tests, which must not be inherited.
    for name, value in os.environ.items():
        if not name.startswith("PREFECT_"):
            environment[name] = value
    return {**environment, "HOME": str(home), **variables}


def start(*arguments: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start the command in a new session, as a terminal would."""
    return start_module("pipelines", *arguments, environment=environment)


def start_module(
    module: str, *arguments: str, environment: dict[str, str]
) -> "subprocess.Popen[str]":
    """Start a module in a new session, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def error_lines(stderr: str) -> list[str]:
    """Return the lines on standard error, without the progress that a slow run logs."""
    return [line for line in stderr.splitlines() if "tokens written" not in line]


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a process and return its exit status, output and errors."""
    try:
        out, err = process.communicate(timeout=WAIT_SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Poll until the condition is true; fail if the process ends first."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it did not happen: {process.communicate()}")
        # Short against the duration of a run, long against the cost of a poll.
        time.sleep(0.05)


def free_port() -> int:
    """Return a TCP port that no process listens on."""
    with socket.socket() as probe:
        # Port 0 selects a free port.
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
