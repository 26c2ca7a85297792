"""Small runs of the command, with the scripted engine and in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w

WAIT_SECONDS = 240
"""Until a test gives up on another process; nothing is measured."""
COMMAND = (sys.executable, "-m", "pipelines")
REPOSITORY = Path(__file__).parents[2]


def run_file(folder: Path, **tables: object) -> str:
    """A run file of four problems in two shards, with a model that always says the same; `tables` replace its own."""
    content = {
        "dataset": str(folder / "dataset"),
        "problems": {"use": "word_problems", "count": 4},
        "engine": {"use": "scripted", "replies": {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}},
        "generate": {"traces_per_problem": 2},
        "annotators": [{"use": "formal"}],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
        "shards": {"problems_per_shard": 2},
    }
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps({**content, **tables}), encoding="utf-8")
    return str(path)


def alone(home: Path, **variables: str) -> dict[str, str]:
    """An environment with a home of its own and no Prefect server but the one in `variables`."""
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "HOME": str(home), **variables}


def start(*arguments: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """The command as a process of its own, in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def complaints(err: str) -> list[str]:
    """What stands on standard error beside the progress that a slow run logs."""
    return [line for line in err.splitlines() if "tokens written" not in line]


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """The exit status, and all that was written until the output was closed."""
    try:
        out, err = process.communicate(timeout=WAIT_SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def wait_for(there: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Poll until it is there; a process that ends before is an error."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not there():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it did not happen: {process.communicate()}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
