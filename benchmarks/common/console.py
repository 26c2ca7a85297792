"""Output of the benchmarks: progress on standard error, results on standard output."""

import json
import sys
from typing import Any

__all__ = ["print_json", "print_progress"]


def print_progress(text: str) -> None:
    """Print a line to standard error, so that standard output contains only the results."""
    sys.stderr.write(text + "\n")
    # Immediately visible between the lines of subprocesses, also if standard error is a file.
    sys.stderr.flush()


def print_json(results: Any) -> None:
    """Print the results of a benchmark to standard output."""
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
