"""Findings of the verifiers on small cases and on real solutions."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.golden import project
from tests.golden.project import AnswerClaim, StepClaim, Verdict
from tests.golden.rows import Golden, excerpt
from tests.json_lines import read_json_lines

__all__ = ["golden_sets"]

DATA = Path(__file__).with_name("data")
OF_STEPS = ("arithmetic", "algebra", "entailment")
Finding = tuple[int, str, str, str]
"""Step, verifier, verdict, reason; the step of an answer is -1."""


def golden_sets() -> Mapping[str, Golden]:
    """Return the findings of the cases and of the solutions."""
    cases = list[tuple[str, Mapping[str, Any]]]()
    for row in read_json_lines(DATA / "cases.jsonl"):
        cases.append((f"{row['file']}:{row['row']}", row["case"]))
    with gzip.open(DATA / "solutions.jsonl.gz", "rt", encoding="utf-8") as file:
        solutions = [(row["id"], row) for row in map(json.loads, file)]
    return {"cases": _golden(cases), "solutions": _golden(solutions)}


def _golden(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Golden:
    golden = Golden()
    unknown = dict[tuple[str, str], dict[str, Any]]()
    for name, case in rows:
        verdicts = dict[str, str]()
        for step, verifier, verdict, reason in _findings(case):
            verdicts[verifier] = verdicts.get(verifier, "") + verdict[0]
            if verdict != Verdict.UNKNOWN:
                golden.texts.append({"at": f"{name} {step}", verifier: verdict, "reason": reason})
                continue
            # Thousands of steps share a few reasons for an unknown.
            if (verifier, reason) not in unknown:
                group = {
                    "verifier": verifier,
                    "unknown": excerpt(reason),
                    "first": f"{name} {step}",
                }
                unknown[verifier, reason] = {**group, "count": 0}
            unknown[verifier, reason]["count"] += 1
        golden.decisions.append({"id": name, **_reading(case), **verdicts})
    golden.texts.extend(unknown.values())
    return golden


def _reading(case: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the texts of a row are read, and the beginning of the longest."""
    decisions: dict[str, Any] = {}
    if "text" in case:
        decisions["split"] = {how: list(project.split(case["text"], how)) for how in case["how"]}
    if "reply" in case:
        decisions["verdicts"] = _read_reply(case)
    if isinstance(case.get("solution"), str):
        decisions["final_answer"] = project.final_answer(case["solution"])
        decisions["excerpt"] = case["solution"][:40]
    elif isinstance(case.get("step"), str):
        decisions["excerpt"] = case["step"][:40]
    elif "steps" in case:
        decisions["excerpt"] = case["steps"][0][:40]
    return decisions


def _read_reply(case: Mapping[str, Any]) -> Sequence[str]:
    verdicts = list[str]()
    for reading in project.read_verdicts(case["reply"], case["step"]):
        verdicts.append(str(reading.verdict))
    return verdicts


def _findings(case: Mapping[str, Any]) -> Iterator[Finding]:
    question = str(case.get("question", ""))
    steps: Sequence[str] = ()
    before: tuple[str, ...] = ()
    solution = case.get("solution")
    if "steps" in case:
        steps = case["steps"]
    elif isinstance(solution, str):
        steps = project.split(solution, "line")
    elif "step" in case and isinstance(case["step"], str):
        before = tuple(case.get("previous", ()))
        steps = [case["step"]]
    for verifier in OF_STEPS:
        plugin = project.verifier(verifier)
        for number, step in enumerate(steps):
            previous = (*before, *steps[:number])
            claim = StepClaim(question=question, previous=previous, step=step)
            finding = plugin.verify(claim)
            yield number, verifier, finding.verdict.value, finding.reason
    yield from _of_answers(case)


def _of_answers(case: Mapping[str, Any]) -> Iterator[Finding]:
    reference = case.get("reference", case.get("answer"))
    answer = case.get("answer") if "reference" in case else None
    if isinstance(case.get("solution"), str):
        answer = project.final_answer(case["solution"])
    if isinstance(answer, str) and isinstance(reference, str):
        claim = AnswerClaim(answer=answer, reference=reference)
        finding = project.verifier("answers").verify(claim)
        yield -1, "answers", finding.verdict.value, finding.reason
