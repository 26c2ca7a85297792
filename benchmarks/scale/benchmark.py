"""Measure a dataset of a million traces: SQL, pages, resuming, exports, and the memory of a run."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import tomli_w

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.targets import MISSED, compare_with_target, worst_verdict
from benchmarks.scale.pages import measure_pages
from benchmarks.scale.synthetic import SyntheticDataset

__all__ = ["main"]

MIB = 1 << 20
MILLION = 1_000_000
# The targets hold for a million traces on two idle cores.
MAX_MIB = 1024
MAX_RESUME_SECONDS = 10.0
LEAST_ROWS_PER_SECOND = 20_000
EXPORTED_FORMATS = ("trl", "chat_steps", "verl_critic")
QUERIES: Mapping[str, tuple[str, float]] = {
    "steps by label": (
        "SELECT label, count(*), avg(monte_carlo_value) FROM steps GROUP BY 1",
        2.0,
    ),
    "traces": ("SELECT count(*) FROM traces", 1.0),
    "annotations by method": (
        "SELECT method, count(*), count(first_error) FROM annotations GROUP BY 1",
        1.3,
    ),
}
"""Queries and the largest number of seconds for each, process start included."""
# Each query is measured this often, and the fastest is reported: the others wait for the disk, or
# for other programs.
ROUNDS = 3
SAMPLE_SECONDS = 0.1
# Two sizes of a run show how its memory grows. In the smaller one as many shards are unfinished at
# once as a run allows: 32 shards of 64 problems and 4 traces each.
MEMORY_TRACES = (16_000, 48_000)
WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a command used."""

    seconds: float
    cpu_seconds: float
    driver_mib: float
    """The largest memory of the process itself."""
    worker_mib: float
    """The largest memory of one of the processes that it started."""


def run_command(arguments: Sequence[str], home: Path, log: Path | None = None) -> Usage:
    """Run a command of Stepmark, and measure it.

    Args:
        arguments: The command.
        home: The home directory of the process.
        log: A file for its standard error; None to discard it.

    Raises:
        SystemExit: The command failed.
    """
    started = time.perf_counter()
    with log.open("w+b") if log else tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", *arguments],
            env=os.environ | {"HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        driver_bytes = 0
        worker_bytes = 0
        while True:
            # The kernel's own counters, which miss nothing between two samples.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            driver, worker = _memory(process.pid)
            driver_bytes = max(driver_bytes, driver)
            worker_bytes = max(worker_bytes, worker)
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise SystemExit(errors.read().decode(errors="replace"))
    return Usage(
        seconds=round(time.perf_counter() - started, 2),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        driver_mib=round(driver_bytes / MIB, 1),
        worker_mib=round(worker_bytes / MIB, 1),
    )


def _memory(pid: int) -> tuple[int, int]:
    """Return the memory of a process, and of the largest process that it started."""
    largest = 0
    try:
        driver = psutil.Process(pid)
        driver_bytes: int = driver.memory_info().rss
        for child in driver.children(recursive=True):
            largest = max(largest, child.memory_info().rss)
    except psutil.Error:
        # It has just ended.
        return 0, largest
    return driver_bytes, largest


def combined(runs: Sequence[Usage]) -> Usage:
    """Return the shortest times and the largest memory of several runs of one command."""
    usage = runs[0]
    for run in runs[1:]:
        usage = Usage(
            seconds=min(usage.seconds, run.seconds),
            cpu_seconds=min(usage.cpu_seconds, run.cpu_seconds),
            driver_mib=max(usage.driver_mib, run.driver_mib),
            worker_mib=max(usage.worker_mib, run.worker_mib),
        )
    return usage


def measure_sql(data: SyntheticDataset) -> Mapping[str, Any]:
    """Measure the queries on a synthetic dataset."""
    results = dict[str, Any]()
    for name, (query, most_seconds) in QUERIES.items():
        runs = list[Usage]()
        for _ in range(ROUNDS):
            arguments = ["sql", query, "--dataset", data.dataset.uri]
            runs.append(run_command(arguments, data.folder))
        usage = combined(runs)
        results[name] = {
            "seconds": compare_with_target(usage.seconds, most=most_seconds),
            "mib": compare_with_target(usage.driver_mib, most=MAX_MIB),
            "cpu_seconds": usage.cpu_seconds,
        }
        print_progress(f"{name}: {results[name]}")
    return results


def measure_resume(data: SyntheticDataset) -> Mapping[str, Any]:
    """Measure a run that finds all parts but the labels of the last shard complete.

    Its stages take the time to find what is left, and to make these labels. The summary of all
    traces follows.
    """
    command = ["run", str(_write_run_file(data)), "--workers", str(WORKERS), "--json-progress"]
    log = data.folder / "progress.txt"
    runs = list[Usage]()
    stage_seconds = list[float]()
    for _ in range(ROUNDS):
        data.remove_last_labels()
        runs.append(run_command(command, data.folder, log))
        stage_seconds.append(_last_progress_seconds(log))
    usage = combined(runs)
    result = {
        "stage_seconds": compare_with_target(min(stage_seconds), most=MAX_RESUME_SECONDS),
        "seconds": usage.seconds,
        "driver_mib": compare_with_target(usage.driver_mib, most=MAX_MIB),
        "cpu_seconds": usage.cpu_seconds,
    }
    print_progress(f"resume: {result}")
    return result


def _last_progress_seconds(log: Path) -> float:
    """Return the age of a run at its last line of JSON progress, when its stages have ended."""
    lines = log.read_text(encoding="utf-8").splitlines()
    progress = [json.loads(line) for line in lines if line.startswith("{")]
    return float(progress[-1]["seconds"])


def measure_export(data: SyntheticDataset) -> Mapping[str, Any]:
    """Measure exports of the synthetic dataset, each of whose traces gives one row.

    The time includes the start of the command and of its processes.
    """
    results = dict[str, Any]()
    for name in EXPORTED_FORMATS:
        arguments = ["export", name, "--dataset", data.dataset.uri]
        target = str(data.folder / f"export_{name}")
        run = run_command([*arguments, "--to", target], data.folder)
        results[name] = {
            "rows_per_second": compare_with_target(
                round(data.traces / run.seconds), least=LEAST_ROWS_PER_SECOND
            ),
            "driver_mib": compare_with_target(run.driver_mib, most=MAX_MIB),
            "worker_mib": run.worker_mib,
            "cpu_seconds": run.cpu_seconds,
        }
        print_progress(f"{name}: {results[name]}")
    return results


def measure_memory(sizes: Sequence[int]) -> Mapping[str, Any]:
    """Measure whole runs of two workers, and extrapolate their memory to a million traces."""
    runs = list[Mapping[str, Any]]()
    usages = list[Usage]()
    for traces in sizes:
        with tempfile.TemporaryDirectory(prefix="stepmark-scale-") as folder:
            # Few rollouts, because only the number of traces matters.
            data = SyntheticDataset(folder=Path(folder), traces=traces, rollouts_per_prefix=1)
            data.write_problems()
            arguments = ["run", str(_write_run_file(data)), "--workers", str(WORKERS)]
            usages.append(run_command(arguments, data.folder))
        runs.append({"traces": traces, **asdict(usages[-1])})
        print_progress(str(runs[-1]))
    results: dict[str, Any] = {"runs": runs}
    for name in ("driver_mib", "worker_mib"):
        first = getattr(usages[0], name)
        last = getattr(usages[-1], name)
        slope = max(0.0, last - first) / (sizes[-1] - sizes[0])
        expected = last + slope * (MILLION - sizes[-1])
        results[name] = {
            "slope_mib_per_million_traces": round(slope * MILLION, 1),
            "at_a_million_traces": compare_with_target(round(expected), most=MAX_MIB),
        }
    return results


def measure_run(data: SyntheticDataset) -> Mapping[str, Any]:
    """Make the traces of a dataset in two workers, query them, and resume the run.

    A dataset that exists is completed, queried and resumed.
    """
    if not data.dataset.exists():
        data.write_problems()
    arguments = ["run", str(_write_run_file(data)), "--workers", str(WORKERS)]
    usage = run_command(arguments, data.folder)
    result: dict[str, Any] = {"shards": data.shards, **asdict(usage)}
    for name in ("driver_mib", "worker_mib"):
        result[name] = compare_with_target(getattr(usage, name), most=MAX_MIB)
    print_progress(f"run: {result}")
    return {"run": result, "sql": measure_sql(data), "resume": measure_resume(data)}


def _write_run_file(data: SyntheticDataset) -> Path:
    path = data.folder / "run.toml"
    path.write_text(tomli_w.dumps(data.run_file()), encoding="utf-8")
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        default=["sql", "pages", "resume", "export", "memory"],
        metavar="PART",
        help="sql, pages, resume, export and memory, which are the default, and run",
    )
    parser.add_argument(
        "--traces", type=int, default=MILLION, help="the traces of the synthetic dataset"
    )
    parser.add_argument(
        "--problems-per-shard", type=int, default=2500, help="the size of the synthetic parts"
    )
    parser.add_argument(
        "--memory-traces",
        type=int,
        nargs=2,
        default=MEMORY_TRACES,
        help="the sizes of the two runs that are measured",
    )
    parser.add_argument(
        "--keep", type=Path, help="the folder of the synthetic dataset, which is used again"
    )
    return parser.parse_args()


def main() -> None:
    """Print the figures as JSON; the exit status is 1 if a target is missed."""
    options = _options()
    results = dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="stepmark-scale-") as temporary:
        data = SyntheticDataset(
            folder=options.keep or Path(temporary),
            traces=options.traces,
            problems_per_shard=options.problems_per_shard,
        )
        needed = {"sql", "pages", "resume", "export"}
        if needed & set(options.parts) and not data.dataset.exists():
            print_progress(f"writing {options.traces} traces")
            data.write()
        if "sql" in options.parts:
            results["sql"] = measure_sql(data)
        if "pages" in options.parts:
            results["pages"] = measure_pages(data.dataset.uri, Path(temporary, "home"))
        if "resume" in options.parts:
            results["resume"] = measure_resume(data)
        if "export" in options.parts:
            results["export"] = measure_export(data)
        if "run" in options.parts:
            # Few rollouts, because a million traces take 40 minutes.
            made = replace(data, folder=data.folder / "run", rollouts_per_prefix=1)
            results["run"] = measure_run(made)
    if "memory" in options.parts:
        results["memory"] = measure_memory(options.memory_traces)
    print_json({"traces": options.traces, "load": psutil.getloadavg(), **results})
    if worst_verdict(_verdicts(results)) == MISSED:
        raise SystemExit(1)


def _verdicts(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield all verdicts in nested results."""
    for name, value in results.items():
        if name == "verdict":
            yield value
        elif isinstance(value, Mapping):
            yield from _verdicts(value)
