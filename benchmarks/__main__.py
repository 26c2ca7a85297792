"""What labels cost and what the house costs, one benchmark after the other: `python -m benchmarks`, or `make bench`.

Each runs as it does alone, in a process of its own; what it measured is gathered in one JSON file. The exit
status is 1 when one of them misses a target, beyond what chance explains, or does not end well.
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

__all__ = ["main"]

DOCS = Path(__file__).resolve().parents[1] / "docs" / "bench"
RESULTS = DOCS / "bench.json"
PARTS: Mapping[str, Sequence[str]] = {
    "efficiency": ("--traces", "60", "--simulated", "40", "--plots", str(DOCS)),
    "saturation": (),
    "peer": (),
    "overhead": ("--pace", "3"),
}
"""With options that keep all of them under twenty minutes on two quiet cores: the last time it was nineteen."""


def main() -> None:
    """Run them, and write what they measured beside their plots."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run the benchmarks one after the other."
    )
    parser.add_argument(
        "parts",
        nargs="*",
        default=list(PARTS),
        metavar="PART",
        help=f"of {', '.join(PARTS)}; all by default",
    )
    parser.add_argument("--to", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(
            f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}"
        )
    told: dict[str, Any] = (
        json.loads(options.to.read_text(encoding="utf-8")) if options.to.exists() else {}
    )
    statuses = dict[str, int]()
    for part in options.parts:
        say(f"== {part}")
        told[part], statuses[part] = _run(part)
        options.to.parent.mkdir(parents=True, exist_ok=True)
        options.to.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for part, status in statuses.items():
        say(
            f"{part}: {'as it must be' if status == 0 else f'a target missed, or failed: exit status {status}'}, {told[part]['seconds']} s"
        )
    raise SystemExit(any(statuses.values()))


def _run(part: str) -> tuple[dict[str, Any], int]:
    started = time.monotonic()
    done = subprocess.run(
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
        measured = json.loads(done.stdout)
    except json.JSONDecodeError:
        measured = None
    return {
        "seconds": round(time.monotonic() - started),
        "machine": machine,
        "measured": measured,
    }, done.returncode


def say(text: str) -> None:
    """To standard error, among what the parts say."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
