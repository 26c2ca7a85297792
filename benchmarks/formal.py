"""Compare what formal checking finds with labels of people and with published solutions.

Two tables: the first errors that are named, by subset; and the reliability of every rule and every
assumption, which decides whether it gives verdicts (`verifiers.math.reliability`). `README.md`
describes the benchmark and its results.
"""

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from annotators.context import AnnotationContext, ProblemGroup
from annotators.methods.formal import Formal
from annotators.running import run
from benchmarks.common.environment import limit_numpy_threads
from benchmarks.common.services import standalone_services
from stepmark.records import NO_ERROR, Annotation, Problem, Trace, Verdict
from stepmark.steps import split
from verifiers.base import Claim, Finding, StepClaim
from verifiers.isolation.pool import VerifierPool
from verifiers.math.reliability import RELIABLE_ASSUMPTIONS, RELIABLE_RULES

__all__ = ["main"]

# Worker processes, and solutions that are checked concurrently, which keeps the workers busy.
WORKERS = 2
IN_FLIGHT = 64
# Solutions that are read at a time, which bounds the memory.
BATCH = 1_000
# The last row of the table.
ALL = "all"
ON_CORRECT = "on right traces"
SUSPECTED = "exact or suspected"
SUSPECTED_ON_CORRECT = "or suspected"
COLUMNS = (
    "traces",
    "with errors",
    "named",
    "exact",
    "later",
    "earlier",
    ON_CORRECT,
    SUSPECTED,
    SUSPECTED_ON_CORRECT,
)
COLUMN_WIDTH = 18
# Alarms on steps that people accept or that are published as right, with the proof that they are
# true: one row per alarm.
SLIPS = Path(__file__).parent / "data" / "formal_slips.jsonl"
TABLE_PAGE = Path("docs/methods/formal.md")
TABLE_START = "<!-- measured: rules of formal -->"
TABLE_END = "<!-- end of measured part -->"
# The quantile of a normal distribution for intervals of 95 %.
NORMAL_QUANTILE = 1.96


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A statement that is false as read: a verdict, or a suspicion."""

    step: int
    finding: Finding


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solution, the first error that people marked (-1 for none), and what was found."""

    row_id: str
    source: str
    label: int
    annotation: Annotation
    alarms: Sequence[Alarm]

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
    def suspicion_agreement(self) -> str:
        """As `agreement`, for the first step with a verdict or a suspicion: a column, or ""."""
        if not self.alarms:
            return ""
        if self.label == NO_ERROR:
            return SUSPECTED_ON_CORRECT
        first_step = min(alarm.step for alarm in self.alarms)
        return SUSPECTED if first_step == self.label else ""

    @property
    def subset(self) -> str:
        """The name of the source, or what the id begins with: `gsm8k` for `gsm8k-12`."""
        return self.source or self.row_id.rpartition("-")[0] or self.row_id


async def check_file(path: Path) -> Sequence[Solution]:
    """Check all solutions of a file, in worker processes.

    A row has `id`, `problem` or `question`, and either `steps` and `label` as in ProcessBench, or a
    `solution` (GSM8K: `answer`) that is right, which is split into lines.
    """
    solutions = list[Solution]()
    semaphore = asyncio.Semaphore(IN_FLIGHT)
    with path.open(encoding="utf-8") as file:
        rows = _rows(file, path.stem)
        async with VerifierPool(workers=WORKERS) as pool:
            while batch := list(islice(rows, BATCH)):
                checks = [_check(row, pool, semaphore) for row in batch]
                solutions += await asyncio.gather(*checks)
    return solutions


def _rows(lines: Iterable[str], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield rows with `id`, `question`, `steps` and `label`."""
    for number, line in enumerate(lines):
        row = json.loads(line)
        steps = row.get("steps")
        if steps is None:
            steps = split(row.get("solution") or row["answer"], "line")
        yield {
            "id": row.get("id", f"{name}-{number}"),
            "source": row.get("source", ""),
            "question": row.get("question") or row["problem"],
            "steps": tuple(steps),
            "label": row.get("label", NO_ERROR),
        }


async def _check(
    row: Mapping[str, Any], pool: VerifierPool, semaphore: asyncio.Semaphore
) -> Solution:
    alarms = list[Alarm]()

    async def verify(verifier: str, claim: Claim) -> Finding:
        finding = await pool.verify(verifier, claim)
        if finding.rule and isinstance(claim, StepClaim):
            alarms.append(Alarm(step=len(claim.previous) + claim.omitted, finding=finding))
        return finding

    problem = Problem(
        problem_id=row["id"],
        question=row["question"],
        answer=None,
        domain="math",
        source="benchmark",
    )
    trace = Trace(
        trace_id=row["id"],
        problem_id=row["id"],
        steps=row["steps"],
        final_answer=None,
        outcome=Verdict.UNKNOWN,
        outcome_reason="",
        model="",
    )
    services = standalone_services(seed=0, verify=verify)
    context = AnnotationContext(services, "formal", problem, trace, ProblemGroup(traces={}))
    async with semaphore:
        annotation = await run(Formal(), "formal", "", problem, trace, context)
    alarms.sort(key=lambda alarm: (alarm.step, alarm.finding.reason))
    return Solution(
        row_id=row["id"],
        source=row["source"],
        label=row["label"],
        annotation=annotation,
        alarms=alarms,
    )


def read_slips(path: Path = SLIPS) -> frozenset[tuple[str, int]]:
    """Return the (row id, step) of alarms that are proven although no error is marked there."""
    slips = set[tuple[str, int]]()
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        slips.add((row["id"], row["step"]))
    return frozenset(slips)


@dataclass(slots=True)
class Reliability:
    """The alarms of one rule, or of one assumption."""

    true: int = 0
    false: int = 0
    unjudged: int = 0

    def add(self, judged: bool | None) -> None:
        """Count an alarm; None if it comes after the first error that people marked."""
        if judged is None:
            self.unjudged += 1
        elif judged:
            self.true += 1
        else:
            self.false += 1

    @property
    def precision(self) -> str:
        """The share of true alarms among the judged ones, with Wilson's interval of 95 %."""
        count = self.true + self.false
        if count == 0:
            return ""
        share = self.true / count
        z = NORMAL_QUANTILE
        center = (share + z * z / (2 * count)) / (1 + z * z / count)
        margin = math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
        margin *= z / (1 + z * z / count)
        low = max(0.0, center - margin)
        high = min(1.0, center + margin)
        return f"{share:.1%} ({low:.0%} to {high:.0%})"


def is_true(solution: Solution, alarm: Alarm, slips: frozenset[tuple[str, int]]) -> bool | None:
    """Return whether an alarm is true; None if it comes after the first error."""
    if alarm.step == solution.label or (solution.row_id, alarm.step) in slips:
        return True
    if solution.label != NO_ERROR and alarm.step > solution.label:
        return None
    return False


def measure_rules(
    solutions: Iterable[Solution], slips: frozenset[tuple[str, int]]
) -> Mapping[tuple[str, str], Reliability]:
    """Return the reliability by kind ("rule" or "assumption") and name.

    A rule is measured on its alarms whose assumptions are all reliable. An assumption is measured
    on the alarms in which the rule and all other assumptions are reliable, because the others are
    no verdicts for another reason.
    """
    counts = dict[tuple[str, str], Reliability]()
    for solution in solutions:
        for alarm in solution.alarms:
            judged = is_true(solution, alarm, slips)
            for key in _measured(alarm.finding):
                counts.setdefault(key, Reliability()).add(judged)
    return counts


def _measured(finding: Finding) -> Iterator[tuple[str, str]]:
    unreliable = set(finding.assumptions) - RELIABLE_ASSUMPTIONS
    if not unreliable:
        yield "rule", finding.rule
    if finding.rule not in RELIABLE_RULES:
        return
    for assumption in finding.assumptions:
        if unreliable <= {assumption}:
            yield "assumption", assumption


def rule_table(counts: Mapping[tuple[str, str], Reliability]) -> Sequence[str]:
    """Return a Markdown table: rules first, and reliable ones before the others."""
    lines = [
        "| rule or assumption | gives | alarms | true | false | unjudged | precision |",
        "|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(counts, key=lambda key: (key[0] != "rule", not _is_reliable(*key), key[1]))
    for kind, name in ordered:
        counted = counts[kind, name]
        alarms = counted.true + counted.false + counted.unjudged
        gives = "verdict" if _is_reliable(kind, name) else "suspicion"
        label = f"rule: {name}" if kind == "rule" else name
        lines.append(
            f"| {label} | {gives} | {alarms} | {counted.true} | {counted.false}"
            f" | {counted.unjudged} | {counted.precision} |"
        )
    return lines


def _is_reliable(kind: str, name: str) -> bool:
    return name in (RELIABLE_RULES if kind == "rule" else RELIABLE_ASSUMPTIONS)


def write_table(lines: Sequence[str], page: Path = TABLE_PAGE) -> None:
    """Replace the table of rules on a page of the documentation."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE_START)
    _, _, after = rest.partition(TABLE_END)
    table = "\n".join(lines)
    page.write_text(f"{before}{TABLE_START}\n\n{table}\n\n{TABLE_END}{after}", encoding="utf-8")


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
            if solution.suspicion_agreement:
                counter[solution.suspicion_agreement] += 1
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


def _incorrect_steps(
    solutions: Sequence[Solution], slips: frozenset[tuple[str, int]]
) -> Sequence[str]:
    """Return a line for every alarm, with the reason."""
    lines = list[str]()
    for solution in solutions:
        for alarm in solution.alarms:
            judged = is_true(solution, alarm, slips)
            result = "unjudged" if judged is None else str(judged).lower()
            lines.append(
                f"{solution.row_id}: step {alarm.step}, people {solution.label}, {result},"
                f" {alarm.finding.verdict}: {alarm.finding.reason}"
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
        help="files in the format of ProcessBench (id, problem, steps, label), or of solutions"
        " that are right (question, solution)",
    )
    parser.add_argument(
        "--show", action="store_true", help="list every step that is found or suspected incorrect"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"write the table of rules into {TABLE_PAGE}"
    )
    return parser.parse_args()


def main() -> None:
    """Print the table of every file."""
    options = _options()
    # For the worker processes, which inherit it.
    limit_numpy_threads()
    slips = read_slips()
    checked = list[Solution]()
    for path in options.data:
        started = time.perf_counter()
        solutions = asyncio.run(check_file(path))
        seconds = time.perf_counter() - started
        lines = list[str]()
        if options.show:
            lines += _incorrect_steps(solutions, slips)
        lines += _table(solutions)
        lines.append(f"{seconds:.1f} s")
        sys.stdout.write("\n".join(lines) + "\n")
        checked += solutions
    table = rule_table(measure_rules(checked, slips))
    sys.stdout.write("\n".join(table) + "\n")
    if options.write:
        write_table(table)


if __name__ == "__main__":
    main()
