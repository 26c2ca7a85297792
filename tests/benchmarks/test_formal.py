"""The benchmark of formal checking: which alarms count as true, and the table of rules."""

import json
from pathlib import Path

from benchmarks.formal import (
    ALL,
    SLIPS,
    SUSPECTED,
    SUSPECTED_ON_CORRECT,
    TABLE_END,
    TABLE_START,
    Alarm,
    Reliability,
    Solution,
    count_by_subset,
    is_true,
    measure_rules,
    read_slips,
    rule_table,
    write_table,
)
from stepmark.records import NO_ERROR, Annotation, Verdict
from verifiers.base import Finding

SLIP = frozenset({("a-1", 0)})


def _alarm(step: int, *assumptions: str, rule: str = "equation") -> Alarm:
    finding = Finding(verdict=Verdict.UNKNOWN, reason="", rule=rule, assumptions=tuple(assumptions))
    return Alarm(step=step, finding=finding)


def _solution(label: int, *alarms: Alarm, row_id: str = "a-2") -> Solution:
    annotation = Annotation(trace_id=row_id, method="formal", first_error=None, steps=())
    return Solution(row_id=row_id, source="", label=label, annotation=annotation, alarms=alarms)


def test_alarm_is_judged_by_label() -> None:
    alarm = _alarm(2)
    assert is_true(_solution(2), alarm, SLIP) is True
    assert is_true(_solution(3), alarm, SLIP) is False
    assert is_true(_solution(NO_ERROR), alarm, SLIP) is False
    assert is_true(_solution(1), alarm, SLIP) is None
    assert is_true(_solution(NO_ERROR, row_id="a-1"), _alarm(0), SLIP) is True


def test_suspicions_are_counted_beside_verdicts() -> None:
    solutions = [
        _solution(1, _alarm(1)),
        _solution(2, _alarm(1), _alarm(2)),
        _solution(NO_ERROR, _alarm(0)),
        _solution(NO_ERROR),
    ]
    counts = count_by_subset(solutions)[ALL]
    assert counts[SUSPECTED] == 1
    assert counts[SUSPECTED_ON_CORRECT] == 1
    assert counts["named"] == 0


def test_assumption_is_measured_alone() -> None:
    solution = _solution(
        1,
        _alarm(1, "words precede it"),
        _alarm(0, "square brackets group"),
        _alarm(0, "square brackets group", "braces group"),
    )
    counts = measure_rules([solution], SLIP)
    assert counts == {
        ("rule", "equation"): Reliability(true=1),
        ("assumption", "words precede it"): Reliability(true=1),
        ("assumption", "square brackets group"): Reliability(false=1),
    }
    assert rule_table(counts)[2:] == [
        "| rule: equation | verdict | 1 | 1 | 0 | 0 | 100.0% (21% to 100%) |",
        "| words precede it | verdict | 1 | 1 | 0 | 0 | 100.0% (21% to 100%) |",
        "| square brackets group | suspicion | 1 | 0 | 1 | 0 | 0.0% (0% to 79%) |",
    ]


def test_table_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{TABLE_START}\nold\n{TABLE_END}\nafter\n", encoding="utf-8")
    write_table(["| new |"], page)
    write_table(["| new |"], page)
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n{TABLE_START}\n\n| new |\n\n{TABLE_END}\nafter\n"


def test_every_slip_has_a_proof() -> None:
    for line in SLIPS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert row["claim"]
        assert row["proof"]
    assert len(read_slips()) == len(SLIPS.read_text(encoding="utf-8").splitlines())
