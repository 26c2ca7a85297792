"""Run the benchmarks of label accuracy, throughput and overhead one after another.

This is `python -m benchmarks` or `make bench`. Each benchmark runs in a separate process, as it
does with its own command. The results are collected in one JSON file.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.common.console import print_progress

__all__ = ["main"]

DOCS = Path(__file__).resolve().parents[1] / "docs" / "bench"
RESULTS = DOCS / "bench.json"
# With these options all of them together take less than twenty minutes on two idle cores.
PARTS: Mapping[str, Sequence[str]] = {
    "efficiency": ("--traces", "60", "--simulated", "40", "--plots", str(DOCS)),
    "saturation": (),
    "peer": (),
    "overhead": ("--pace", "3"),
}


def main() -> None:
    """Run the benchmarks and write their results; the exit status is 1 if one of them fails."""
    options = _options()
    results = dict[str, Any]()
    # Results of benchmarks that do not run this time are kept.
    if options.to.exists():
        results = json.loads(options.to.read_text(encoding="utf-8"))
    statuses = dict[str, int]()
    for part in options.parts:
        print_progress(f"== {part}")
        results[part], statuses[part] = _run(part)
        options.to.parent.mkdir(parents=True, exist_ok=True)
        options.to.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for part, status in statuses.items():
        outcome = "no target missed"
        if status != 0:
            outcome = f"a target missed, or an error: exit status {status}"
        print_progress(f"{part}: {outcome}, {results[part]['seconds']} s")
    if any(statuses.values()):
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run the benchmarks one after another."
    )
    parser.add_argument(
        "parts",
        nargs="*",
        default=list(PARTS),
        metavar="PART",
        help=f"the benchmarks to run: {', '.join(PARTS)}; all by default",
    )
    parser.add_argument("--to", type=Path, default=RESULTS, help="the JSON file for the results")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(
            f"unknown benchmark: {', '.join(sorted(unknown))}; choose from: {', '.join(PARTS)}"
        )
    return options


def _run(part: str) -> tuple[Mapping[str, Any], int]:
    """Run a benchmark and return its results with the machine's state, and its exit status."""
    started = time.monotonic()
    completed = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}", *PARTS[part]],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    machine = {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": psutil.cpu_count(),
        "load": psutil.getloadavg(),
    }
    try:
        measured = json.loads(completed.stdout)
    except json.JSONDecodeError:
        measured = None  # a benchmark that fails prints no JSON
    result = {
        "seconds": round(time.monotonic() - started),
        "machine": machine,
        "measured": measured,
    }
    return result, completed.returncode


if __name__ == "__main__":
    main()
