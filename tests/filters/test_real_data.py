"""Filters that compare texts, on real questions; skipped without the shared data."""

from pathlib import Path

import pytest

from filters.contamination import Contamination
from filters.duplicates import Duplicates
from tests.filters.samples import candidate, drops
from tests.json_lines import read_json_lines
from tests.verifiers.cases import SHARED


def shared(name: str) -> Path:
    """Return the path of a shared data file; skip the test if it is missing."""
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data next to the repository")
    return SHARED / name


def test_gsm8k_questions_of_processbench_are_contaminated() -> None:
    against = ({"use": "files", "paths": [str(shared("gsm8k-test.jsonl"))]},)
    traces = [
        candidate(row["id"], problem=row["id"], question=row["problem"])
        for row in read_json_lines(shared("processbench-dev.jsonl"))
    ]
    dropped = drops(Contamination(against=against), traces)
    # All GSM8K problems of the file, and no problem of another subset.
    assert len(dropped) == 150
    trace_ids = [trace.trace.trace_id for trace in traces]
    gsm8k = {trace_id for trace_id in trace_ids if trace_id.startswith("gsm8k")}
    assert dropped.keys() == gsm8k


def test_gsm8k_has_no_duplicate_questions() -> None:
    traces = []
    for number, row in enumerate(read_json_lines(shared("gsm8k-test.jsonl"))):
        traces.append(candidate(f"t{number}", problem=f"p{number}", question=row["question"]))
    assert drops(Duplicates(), traces) == {}
