"""How many errors formal checking finds, against people: `python -m benchmarks.formal --data FILE` (see `README.md`)."""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotators.context import AnnotationContext, Grade, ProblemGroup, RunServices
from annotators.methods.formal import Formal
from annotators.running import run
from engines.base import Prompt
from stepmark.records import NO_ERROR, Annotation, Problem, Sampling, Trace, Verdict
from verifiers.isolation.pool import VerifierPool

__all__ = ["main"]

WORKERS = 2
IN_FLIGHT = 64
ALL = "all"
COLUMNS = ("traces", "with errors", "named", "exact", "later", "earlier", "on right traces")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A solution, its first wrong step by people's judgement (-1: none), and what formal checking says of it."""

    row_id: str
    label: int
    annotation: Annotation

    @property
    def place(self) -> str:
        """Where the step that is named first stands to people's first error; empty when none is named."""
        named = self.annotation.first_error
        if named is None:
            return ""
        if self.label == NO_ERROR:
            return "on right traces"
        return "exact" if named == self.label else "later" if named > self.label else "earlier"

    @property
    def subset(self) -> str:
        """What its id begins with: `gsm8k-12` is of gsm8k."""
        return self.row_id.rpartition("-")[0] or self.row_id


async def measure(path: Path) -> Sequence[Row]:
    """Check every solution of a file shaped as ProcessBench's, in worker processes as a run does."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with VerifierPool(workers=WORKERS) as isolated:
        services = _services(isolated)

        async def checked(row: Mapping[str, Any]) -> Row:
            async with gate:
                return Row(
                    row_id=row["id"], label=row["label"], annotation=await _annotated(row, services)
                )

        return await asyncio.gather(*map(checked, rows))


async def _annotated(row: Mapping[str, Any], services: RunServices) -> Annotation:
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


def _services(isolated: VerifierPool) -> RunServices:
    """Verifiers, and nothing else that a method could ask for."""

    async def grade(text: str, finish_reason: str, reference: str | None) -> Grade:
        raise NotImplementedError

    return RunServices(
        seed=0,
        engine=None,
        judge_engine=None,
        solve_prompt=lambda problem: Prompt(user=problem.question),
        rollout_sampling=Sampling(),
        grade=grade,
        verify=isolated.verify,
    )


def table(rows: Iterable[Row]) -> Mapping[str, Mapping[str, int]]:
    """Counts by subset, and of all."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for subset in (row.subset, ALL):
            told = counts.setdefault(subset, Counter())
            told.update(
                {
                    "traces": 1,
                    "with errors": row.label != NO_ERROR,
                    "named": bool(row.place),
                    row.place: 1,
                }
            )
    return {
        subset: {column: told[column] for column in COLUMNS}
        for subset, told in sorted(counts.items(), key=lambda item: item[0] == ALL)
    }


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    counts = table(rows)
    width = max(map(len, counts))
    yield " ".join((" " * width, *(f"{column:>16}" for column in COLUMNS)))
    for subset, told in counts.items():
        yield " ".join((f"{subset:<{width}}", *(f"{told[column]:>16}" for column in COLUMNS)))


def _named(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        step = row.annotation.first_error
        if step is not None:
            yield f"{row.row_id}: step {step}, people {row.label}, {row.place}: {row.annotation.steps[step].rationale}"


def main() -> None:
    """Print the table of every file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.formal",
        description="How many errors formal checking finds, against people.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="files of ProcessBench's shape: id, problem, steps, label",
    )
    parser.add_argument("--show", action="store_true", help="list every step that is named")
    options = parser.parse_args()
    for path in options.data:
        started = time.perf_counter()
        rows = asyncio.run(measure(path))
        seconds = time.perf_counter() - started
        lines = (*(_named(rows) if options.show else ()), *_lines(rows), f"{seconds:.1f} s")
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
