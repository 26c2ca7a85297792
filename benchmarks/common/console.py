"""Output of the benchmarks: progress on standard error, results on standard output."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["print_json", "print_progress", "print_table"]


def print_progress(text: str) -> None:
    """Print a line to standard error, so that standard output contains only the results."""
    sys.stderr.write(text + "\n")
    # Immediately visible between the lines of subprocesses, also if standard error is a file.
    sys.stderr.flush()


def print_json(results: Any) -> None:
    """Print the results of a benchmark to standard output."""
    sys.stdout.write(json.dumps(results, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown to standard output."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        lines.append("| " + " | ".join([str(cell) for cell in row]) + " |")
    sys.stdout.write("\n".join(lines) + "\n\n")
