"""A whole run over programming problems: their references are tests, and what a solution asserts on the way is tried too."""

import gc
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from annotators.context import Grade
from pipelines.__main__ import main
from pipelines.run.grading import grade, why_ungradable
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES, annotations
from tests.pipelines.running import run_file
from verifiers.isolation.pool import Isolated

# Prefect's threads keep their connections beyond the event loop of a flow.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning", "ignore:unclosed transport:ResourceWarning"
)

PROGRAMS = Path(__file__).parents[1] / "verifiers" / "data" / "programs.jsonl"
"""Twelve problems of our own, in all shapes of tests, each with a right solution and one with a mistake that people make."""
WRONG_CLAIMS = ("average", "transpose")
"""Functions whose wrong solutions also assert something false on the way."""


def _rows() -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in PROGRAMS.read_text().splitlines()]


def test_programs_are_graded_by_their_tests(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        PROGRAMS.read_text() + json.dumps({"question": "Write nothing.", "answer": "18"}) + "\n"
    )
    path = run_file(
        tmp_path,
        problems={"use": "files", "paths": [str(problems)], "domain": "code"},
        engine={
            "use": "scripted",
            "replies": {row["question"]: [row["right"], row["wrong"]] for row in _rows()},
        },
        generate={
            "traces_per_problem": 2,
            "grader": "code",
            "prompt": "program",
            "split": "blank_line",
        },
        annotators=[{"use": "formal", "verifiers": ["code"]}],
        shards={"problems_per_shard": 16},
    )
    monkeypatch.setattr(sys, "argv", ["stepmark", "run", path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    dataset = Dataset(str(tmp_path / "dataset"))
    expected = {row["question"]: ("correct", row["verdict"]) for row in _rows()}
    questions = {problem.problem_id: problem.question for problem in dataset.read(PROBLEMS)}
    outcomes: dict[str, tuple[str, ...]] = {}
    for trace in dataset.read(TRACES):
        question = questions[trace.problem_id]
        outcomes[question] = (*outcomes.get(question, ()), trace.outcome)
        assert trace.final_answer
        assert trace.final_answer in "".join(trace.steps)
    assert outcomes == expected
    assert [rejected.reason for rejected in dataset.read(REJECTED)] == [
        "no answer could be compared with it: the reference: no tests: there is no assertion"
    ]
    traces = {trace.trace_id: trace for trace in dataset.read(TRACES)}
    formal = list(dataset.read(annotations("formal")))
    false = [
        traces[annotation.trace_id] for annotation in formal if annotation.first_error is not None
    ]
    assert sorted(trace.final_answer.split("(")[0] for trace in false if trace.final_answer) == [
        f"def {name}" for name in WRONG_CLAIMS
    ]
    verdicts = [step.verdict for annotation in formal for step in annotation.steps]
    assert verdicts.count(Verdict.CORRECT) == 2 * len(_rows()) - len(WRONG_CLAIMS)


async def test_a_program_is_the_last_block_of_a_whole_solution() -> None:
    text = "```python\ndef f(): return 1\n```\nBetter:\n```python\ndef f(): return 2\n```\n"
    async with Isolated(workers=1, deadline=20.0) as workers:
        graded = await grade(workers, text, "stop", "assert f() == 2", grader="code")
        assert graded == Grade(
            final_answer="def f(): return 2\n", outcome=Verdict.CORRECT, reason="tests passed: 1"
        )
        assert (
            await grade(workers, text, "length", "assert f() == 2", grader="code")
        ).reason == "truncated"
        assert (
            await grade(workers, "The answer is 2.", "stop", "assert f() == 2", grader="code")
        ).reason == "no final answer"
        assert await why_ungradable(workers, "assert f() == 2", grader="code") == ""
