"""Measure the start of the command: its first output, and a run with nothing left to do."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomli_w

__all__ = ["measure_start"]

# Both targets are in seconds.
FIRST_OUTPUT_TARGET = 1.0
NO_OP_TARGET = 3.0
# A small run with the methods that need no model.
RUN_FILE = {
    "problems": {"use": "word_problems", "count": 40},
    "engine": {"use": "scripted", "replies": {"": ["1 + 1 = 2\nThe answer is \\boxed{2}."]}},
    "generate": {"traces_per_problem": 4},
    "annotators": [{"use": "formal"}],
    "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
}


def measure_start(rounds: int) -> Mapping[str, Any]:
    """Return seconds and processor seconds of commands on a dataset whose parts are complete.

    The figures are the lowest of all rounds, by command. The command `python` only starts the
    interpreter. `targets` has the limits in seconds.
    """
    with TemporaryDirectory(prefix="stepmark-start-") as folder:
        run_file = Path(folder, "run.toml")
        content = {"dataset": str(Path(folder, "dataset")), **RUN_FILE}
        run_file.write_text(tomli_w.dumps(content), encoding="utf-8")
        commands = {
            "python": ["-c", "print()"],
            "run": ["-m", "pipelines", "run", str(run_file)],
            "label": ["-m", "pipelines", "label", str(run_file)],
        }
        # The first run makes the parts that the measured commands find.
        _measure(commands["run"])
        figures = dict[str, Mapping[str, float]]()
        for name, arguments in commands.items():
            figures[name] = _lowest_figures([_measure(arguments) for _ in range(rounds)])
    return {
        "targets": {"first_output": FIRST_OUTPUT_TARGET, "processor": NO_OP_TARGET},
        "commands": figures,
    }


def _lowest_figures(measurements: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Return the lowest value of each figure, in seconds with two decimals."""
    lowest = dict[str, float]()
    for key in measurements[0]:
        lowest[key] = round(min(measurement[key] for measurement in measurements), 2)
    return lowest


def _measure(arguments: Sequence[str]) -> Mapping[str, float]:
    """Run Python with these arguments and return its times in seconds.

    Returns:
        `first_output`: until its first line; `seconds`: until its end; `processor`: the CPU time of
        the process and its children.

    Raises:
        RuntimeError: The process failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A configured Prefect server would be another measurement.
        env={name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first_output = time.perf_counter() - started
        process.stdout.read()
    ended = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user = after.ru_utime - before.ru_utime
    system = after.ru_stime - before.ru_stime
    return {"first_output": first_output, "seconds": ended, "processor": user + system}
