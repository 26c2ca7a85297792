"""Compare the verdicts of `answers` with the expected ones of a file of answer pairs.

Every row of the JSONL file has `answer`, `reference` and `expected` (true or false). The statement
of a final answer is extracted from both texts; a text without one is compared as a whole. The
output is a confusion table, overall and by `source`, and every pair whose verdict contradicts its
expectation. An expectation can be a policy of the grader that it comes from, so each is to be
judged.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.console import print_json
from stepmark.final_answers import final_answer
from stepmark.records import Verdict
from verifiers.answers import Answers
from verifiers.base import AnswerClaim

__all__ = ["confusion", "main"]

CONTRADICTIONS = {(True, Verdict.INCORRECT), (False, Verdict.CORRECT)}


def confusion(rows: Iterable[Mapping[str, Any]], *, list_unknown: bool = False) -> dict[str, Any]:
    """Return the numbers of pairs by expectation and verdict, and the contradictions."""
    verifier = Answers()
    total = Counter[str]()
    by_source = defaultdict[str, Counter[str]](Counter)
    listed = list[Mapping[str, Any]]()
    for row in rows:
        answer = final_answer(row["answer"]) or row["answer"]
        reference = final_answer(row["reference"]) or row["reference"]
        finding = verifier.verify(AnswerClaim(answer=answer, reference=reference))
        cell = f"{'equal' if row['expected'] else 'different'} -> {finding.verdict}"
        total[cell] += 1
        by_source[row.get("source", "")][cell] += 1
        is_unknown = finding.verdict is Verdict.UNKNOWN
        if (row["expected"], finding.verdict) in CONTRADICTIONS or (list_unknown and is_unknown):
            listed.append({**row, "read": [answer, reference], "reason": finding.reason})
    count = total.total()
    unknown = sum(number for cell, number in total.items() if cell.endswith(Verdict.UNKNOWN))
    return {
        "pairs": count,
        "confusion": dict(total),
        "unknown_share": round(unknown / max(count, 1), 4),
        "by_source": {source: dict(counts) for source, counts in sorted(by_source.items())},
        "listed": listed,
    }


def main() -> None:
    """Print the confusion table of a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answer_pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a JSONL file of answer pairs")
    parser.add_argument("--unknown", action="store_true", help="list the undecided pairs as well")
    parser.add_argument("--without", nargs="*", default=[], help="sources to leave out")
    options = parser.parse_args()
    lines = options.file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    kept = [row for row in rows if row.get("source") not in options.without]
    print_json(confusion(kept, list_unknown=options.unknown))


if __name__ == "__main__":
    main()
