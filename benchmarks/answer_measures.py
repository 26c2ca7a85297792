"""Measure the verdicts of `answers` on real references and solutions.

`floats` reads files of worked solutions with exact answers (`solution`, or `answer`). For every
distinct fraction and root among the answers, the floating-point number that Python prints is
compared with the exact answer: it may be undecided, but never incorrect.

`solutions` reads files of model solutions that people graded, in the format of
openai/grade-school-math: `ground_truth`, and objects with `solution` and `is_correct`. No verdict
may disagree with the people.

The values of the references are computed by SymPy from the reading of math-verify, so that a wrong
reading of `answers` cannot hide itself.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.console import print_table
from stepmark.final_answers import final_answer
from stepmark.records import Verdict
from verifiers.answers import Answers
from verifiers.base import AnswerClaim

__all__ = ["FloatTable", "SolutionTable", "main", "measure_floats", "measure_solutions"]

Row = Mapping[str, Any]
# A longer text is a solution and no answer.
MAX_REFERENCE_CHARS = 100


@dataclass
class FloatTable:
    """The verdicts on printed floats, by the kind of the reference."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    incorrect: list[tuple[str, str]] = field(default_factory=list)
    """The pairs (float, reference) that are called incorrect."""


@dataclass
class SolutionTable:
    """The verdicts on model solutions, by the model."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    disagreements: list[tuple[str, str]] = field(default_factory=list)
    """The pairs (answer, reference) on which the verdict and the people disagree."""


def measure_floats(rows: Iterable[Row]) -> FloatTable:
    """Compare the printed value of every fraction and root among the answers with the answer."""
    table = FloatTable()
    references = set[str]()
    for row in rows:
        reference = final_answer(row.get("solution", "")) or row.get("answer", "")
        is_exact = "frac" in reference or "sqrt" in reference
        if is_exact and len(reference) <= MAX_REFERENCE_CHARS:
            references.add(reference)
    for reference in sorted(references):
        value = _value(reference)
        if value is None:
            continue
        verdict = _verdict(repr(value), reference)
        kind = "root" if "sqrt" in reference else "fraction"
        table.counts[kind][verdict.value] += 1
        if verdict is Verdict.INCORRECT:
            table.incorrect.append((repr(value), reference))
    return table


def measure_solutions(rows: Iterable[Row]) -> SolutionTable:
    """Grade all model solutions and compare the verdicts with those of people."""
    table = SolutionTable()
    for row in rows:
        reference = final_answer(row["ground_truth"])
        for model, solution in _solutions(row):
            answer = final_answer(solution["solution"])
            counts = table.counts[model]
            if answer is None or reference is None:
                counts["no final answer"] += 1
                continue
            verdict = _verdict(answer, reference)
            if verdict is Verdict.UNKNOWN:
                counts["undecided"] += 1
            elif (verdict is Verdict.CORRECT) is solution["is_correct"]:
                counts["agrees"] += 1
            else:
                counts["disagrees"] += 1
                table.disagreements.append((answer, reference))
    return table


def _solutions(row: Row) -> Iterator[tuple[str, Row]]:
    for model, solution in row.items():
        # The other fields are texts, such as the reference solution.
        if isinstance(solution, dict):
            yield model, solution


def _verdict(answer: str, reference: str) -> Verdict:
    return Answers().verify(AnswerClaim(answer=answer, reference=reference)).verdict


def _value(reference: str) -> float | None:
    """Return the value of a closed expression as a float.

    It is None for other answers, for whole numbers, and for values that are too small for a float.
    """
    # Imported on use, because loading SymPy takes a second.
    from math_verify import LatexExtractionConfig, parse
    from sympy import Expr

    parsed = parse(f"${reference}$", extraction_config=[LatexExtractionConfig()])
    if not parsed or not isinstance(parsed[0], Expr):
        return None
    number = parsed[0].evalf(30)
    if not number.is_Float or float(number).is_integer():
        return None
    return float(number)


def read_rows(paths: Iterable[Path]) -> Iterator[Row]:
    """Yield the rows of JSONL files."""
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield json.loads(line)


def _print_counts(first: str, counts: Mapping[str, Counter[str]], columns: Sequence[str]) -> None:
    rows = list[Sequence[object]]()
    for name, row in sorted(counts.items()):
        rows.append([name, *(row[column] for column in columns)])
    totals = sum(counts.values(), Counter[str]())
    rows.append(["all", *(totals[column] for column in columns)])
    print_table([first, *columns], rows)


def _print_pairs(heading: str, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        print_table([heading, "reference"], pairs)


def main() -> None:
    """Print the table of a measure; the exit status is 1 if a verdict is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answer_measures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("measure", choices=("floats", "solutions"))
    parser.add_argument("files", type=Path, nargs="+", help="JSONL files")
    options = parser.parse_args()
    rows = read_rows(options.files)
    if options.measure == "floats":
        floats = measure_floats(rows)
        _print_counts("answer", floats.counts, list(Verdict))
        _print_pairs("incorrect float", floats.incorrect)
        wrong = len(floats.incorrect)
    else:
        solutions = measure_solutions(rows)
        columns = ("agrees", "disagrees", "undecided", "no final answer")
        _print_counts("model", solutions.counts, columns)
        _print_pairs("disagreement", solutions.disagreements)
        wrong = len(solutions.disagreements)
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
