"""The filters that compare texts, on real questions; needs the data that lies beside the repository."""

from pathlib import Path

import pytest

from filters.contamination import Contamination
from filters.duplicates import Duplicates
from tests.filters.samples import candidate, drops
from tests.verifiers.cases import SHARED, rows


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {name} in shared/data beside the repository")
    return SHARED / name


def test_of_processbench_all_gsm8k_questions_are_in_its_test_set_and_no_other_is() -> None:
    against = ({"use": "files", "paths": [str(shared("gsm8k-test.jsonl"))]},)
    traces = [
        candidate(row["id"], problem=row["id"], question=row["problem"])
        for row in rows(shared("processbench-dev.jsonl"))
    ]
    dropped = drops(Contamination(against=against), traces)
    assert len(dropped) == 150
    assert dropped.keys() == {
        each.trace.trace_id for each in traces if each.trace.trace_id.startswith("gsm8k")
    }


def test_no_question_of_gsm8k_s_test_set_is_another_one_asked_again() -> None:
    found = enumerate(rows(shared("gsm8k-test.jsonl")))
    traces = [
        candidate(f"t{number}", problem=f"p{number}", question=row["question"])
        for number, row in found
    ]
    assert drops(Duplicates(), traces) == {}
