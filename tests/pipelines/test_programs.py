"""A complete run over programming problems whose references are tests."""

import gc
import json
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from annotators.context import Grade
from pipelines.__main__ import main
from pipelines.run.graders import GRADERS, grade, why_ungradable
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES, annotations
from tests.columns import column
from tests.json_lines import read_json_lines
from tests.pipelines.rows import by_trace_id
from tests.pipelines.running import run_file
from verifiers.isolation.pool import VerifierPool

# Prefect's threads keep their connections after the event loop of a flow has ended.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning", "ignore:unclosed transport:ResourceWarning"
)

# Twelve problems with different forms of tests. Each has a correct solution and one with a typical
# mistake.
PROGRAMS = Path(__file__).parents[1] / "verifiers" / "data" / "programs.jsonl"
# Functions whose wrong solutions also contain an assertion that fails.
FALSE_ASSERTIONS = ("average", "transpose")


def test_programs_are_graded_by_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = _run_programs(tmp_path, monkeypatch)
    questions = {problem.problem_id: problem.question for problem in dataset.read(PROBLEMS)}
    outcomes = defaultdict[str, list[str]](list)
    for trace in dataset.read(TRACES):
        outcomes[questions[trace.problem_id]].append(trace.outcome)
        assert trace.final_answer
        assert trace.final_answer in "".join(trace.steps)
        # The tests of an endless program may report nothing.
        assert trace.outcome_parts or trace.outcome is Verdict.UNKNOWN
        # The first test that does not pass decides the outcome.
        not_passed = list[Verdict]()
        for part in trace.outcome_parts:
            if part is not Verdict.CORRECT:
                not_passed.append(part)
        if trace.outcome_parts:
            assert [trace.outcome] == (not_passed or [Verdict.CORRECT])[:1]
    assert outcomes == {
        row["question"]: ["correct", row["verdict"]] for row in read_json_lines(PROGRAMS)
    }
    assert column(dataset.read(REJECTED), "reason") == [
        "no answer could be compared with it: the reference: no tests: there is no assertion"
    ]
    _check_formal_annotations(dataset)


def _run_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Run `stepmark run` on the programming problems and one problem without tests."""
    monkeypatch.setattr(gc, "freeze", lambda: None)
    problems = tmp_path / "problems.jsonl"
    without_tests = {"question": "Write nothing.", "answer": "18"}
    problems.write_text(PROGRAMS.read_text() + json.dumps(without_tests) + "\n")
    replies = {row["question"]: [row["right"], row["wrong"]] for row in read_json_lines(PROGRAMS)}
    path = run_file(
        tmp_path,
        problems={"use": "files", "paths": [str(problems)], "domain": "code"},
        engine={"use": "scripted", "replies": replies},
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
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code
    return Dataset(str(tmp_path / "dataset"))


def _check_formal_annotations(dataset: Dataset) -> None:
    """Check that exactly the false assertions are found, and every other program passes."""
    traces = by_trace_id(dataset.read(TRACES))
    rejected_functions = list[str]()
    correct_steps = 0
    for annotation in dataset.read(annotations("formal")):
        correct_steps += column(annotation.steps, "verdict").count(Verdict.CORRECT)
        if annotation.first_error is not None:
            program = traces[annotation.trace_id].final_answer or ""
            rejected_functions.append(program.split("(")[0])
    assert sorted(rejected_functions) == [f"def {name}" for name in FALSE_ASSERTIONS]
    assert correct_steps == 2 * len(read_json_lines(PROGRAMS)) - len(FALSE_ASSERTIONS)


async def test_last_code_block_is_graded() -> None:
    text = "```python\ndef f(): return 1\n```\nBetter:\n```python\ndef f(): return 2\n```\n"
    reference = "assert f() == 2"
    async with VerifierPool(workers=1, deadline=20.0) as workers:
        result = await grade(workers, text, "stop", reference, grader=GRADERS["code"])
        assert result == Grade(
            final_answer="def f(): return 2\n",
            outcome=Verdict.CORRECT,
            reason="tests passed: 1",
            outcome_parts=(Verdict.CORRECT,),
        )
        result = await grade(workers, text, "length", reference, grader=GRADERS["code"])
        assert result.reason == "truncated"
        result = await grade(workers, "The answer is 2.", "stop", reference, grader=GRADERS["code"])
        assert result.reason == "no final answer"
        assert await why_ungradable(workers, reference, grader=GRADERS["code"]) == ""
