"""Compare the first errors that formal checking finds with those marked by people.

`README.md` describes the benchmark and its results.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotators.context import AnnotationContext, ProblemGroup, RunServices
from annotators.methods.formal import Formal
from annotators.running import run
from benchmarks.common.environment import limit_numpy_threads
from benchmarks.common.services import standalone_services
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict
from verifiers.isolation.pool import VerifierPool

__all__ = ["main"]

# Worker processes, and solutions that are checked concurrently, which keeps the workers busy.
WORKERS = 2
IN_FLIGHT = 64
# The last row of the table.
ALL = "all"
ON_CORRECT = "on right traces"
COLUMNS = ("traces", "with errors", "named", "exact", "later", "earlier", ON_CORRECT)
COLUMN_WIDTH = 16


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solution, the first error that people marked (-1 for none), and the formal annotation."""

    row_id: str
    label: int
    annotation: Annotation

    @property
    def agreement(self) -> str:
        """The step that is found incorrect relative to the label: a column, or "" if none is."""
        first_error = self.annotation.first_error
        if first_error is None:
            return ""
        if self.label == NO_ERROR:
            return ON_CORRECT
        if first_error == self.label:
            return "exact"
        if first_error > self.label:
            return "later"
        return "earlier"

    @property
    def subset(self) -> str:
        """The subset that the id begins with: `gsm8k` for `gsm8k-12`."""
        return self.row_id.rpartition("-")[0] or self.row_id


async def check_file(path: Path) -> Sequence[Solution]:
    """Check all solutions of a file in the format of ProcessBench, in worker processes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    semaphore = asyncio.Semaphore(IN_FLIGHT)
    async with VerifierPool(workers=WORKERS) as pool:
        services = standalone_services(seed=0, verify=pool.verify)

        async def check(row: Mapping[str, Any]) -> Solution:
            async with semaphore:
                annotation = await _annotate(row, services)
            return Solution(row_id=row["id"], label=row["label"], annotation=annotation)

        return await asyncio.gather(*map(check, rows))


async def _annotate(row: Mapping[str, Any], services: RunServices) -> Annotation:
    problem = Problem(
        problem_id=row["id"],
        question=row["problem"],
        answer=None,
        domain="math",
        source="benchmark",
    )
    trace = Trace(
        trace_id=row["id"],
        problem_id=row["id"],
        steps=tuple(row["steps"]),
        final_answer=None,
        outcome=Verdict.UNKNOWN,
        outcome_reason="",
        model="",
    )
    context = AnnotationContext(services, "formal", problem, trace, ProblemGroup(traces={}))
    return await run(Formal(), "formal", "", problem, trace, context)


def count_by_subset(solutions: Iterable[Solution]) -> Mapping[str, Mapping[str, int]]:
    """Return the counts of each subset, in the order of the file, and then of all solutions."""
    counters: dict[str, Counter[str]] = {}
    for solution in solutions:
        for subset in (solution.subset, ALL):
            counter = counters.setdefault(subset, Counter())
            counter["traces"] += 1
            counter["with errors"] += solution.label != NO_ERROR
            if solution.agreement:
                counter["named"] += 1
                counter[solution.agreement] += 1
    counts = dict[str, Mapping[str, int]]()
    for subset in sorted(counters, key=lambda subset: subset == ALL):
        counts[subset] = {column: counters[subset][column] for column in COLUMNS}
    return counts


def _table(solutions: Sequence[Solution]) -> Sequence[str]:
    counts = count_by_subset(solutions)
    width = max(map(len, counts))
    header = " ".join(f"{column:>{COLUMN_WIDTH}}" for column in COLUMNS)
    lines = [f"{'':{width}} {header}"]
    for subset, row in counts.items():
        cells = " ".join(f"{count:>{COLUMN_WIDTH}}" for count in row.values())
        lines.append(f"{subset:<{width}} {cells}")
    return lines


def _incorrect_steps(solutions: Sequence[Solution]) -> Sequence[str]:
    """Return a line for every step that is found incorrect, with the reason."""
    lines = list[str]()
    for solution in solutions:
        step = solution.annotation.first_error
        if step is not None:
            rationale = solution.annotation.steps[step].rationale
            lines.append(
                f"{solution.row_id}: step {step}, people {solution.label},"
                f" {solution.agreement}: {rationale}"
            )
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.formal",
        description="Compare the first errors that formal checking finds with people's labels.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="files in the format of ProcessBench: id, problem, steps, label",
    )
    parser.add_argument(
        "--show", action="store_true", help="list every step that is found incorrect"
    )
    return parser.parse_args()


def main() -> None:
    """Print the table of every file."""
    options = _options()
    # For the worker processes, which inherit it.
    limit_numpy_threads()
    for path in options.data:
        started = time.perf_counter()
        solutions = asyncio.run(check_file(path))
        seconds = time.perf_counter() - started
        lines = list[str]()
        if options.show:
            lines += _incorrect_steps(solutions)
        lines += _table(solutions)
        lines.append(f"{seconds:.1f} s")
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
