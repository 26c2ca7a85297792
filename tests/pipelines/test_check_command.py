"""`stepmark check`, and runs with servers that do not continue answers."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from pipelines.__main__ import main
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations, critiques, rollouts
from tests.columns import column
from tests.engines.chat_server import LINES, ChatModel, serving
from tests.engines.fake_server import refusing_url
from tests.pipelines.one_verifier import use_one_verifier

QUESTIONS = ("Add 3 and 4, then double.", "Three plus four, times two?")
VERDICTS = "Step 1: correct\nStep 2: correct\nStep 3: correct"


class JudgingModel(ChatModel):
    """A model that also judges its own solution."""

    verdicts = VERDICTS

    def _text(self, user: str, prefix: str) -> str:
        if "Check a solution" in user:
            return self.verdicts
        return super()._text(user, prefix)


@contextmanager
def served(model: ChatModel) -> Iterator[str]:
    """Serve a model in a thread, and yield the URL."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    urls = list[str]()
    started = threading.Event()

    async def serve() -> None:
        async with serving(model) as server:
            urls.append(server.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def write_run_file(folder: Path, url: str, **tables: Any) -> str:
    """Write a run file; a table that is None is left out."""
    problems = folder / "problems.jsonl"
    rows = [json.dumps({"question": question, "answer": "14"}) for question in QUESTIONS]
    problems.write_text("\n".join(rows))
    content = {
        "dataset": str(folder / "data"),
        "problems": {"use": "files", "paths": [str(problems)]},
        "engine": {"use": "openai", "model": "m", "base_urls": [url], "retries": 0},
        "generate": {"traces_per_problem": 2},
        "annotators": [
            {"use": "monte_carlo", "rollouts": 2},
            {"use": "judge", "votes": 1},
        ],
        "label": {"use": "consensus"},
    }
    path = folder / "run.toml"
    merged = {name: table for name, table in {**content, **tables}.items() if table is not None}
    path.write_text(tomli_w.dumps(merged))
    return str(path)


def stepmark(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command and return its exit status."""
    use_one_verifier(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_check_describes_and_tries_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = JudgingModel(fields={"reasoning_content": "hm"}, finish_reason="eos_token")
    with served(model) as url:
        assert stepmark(monkeypatch, "check", write_run_file(tmp_path, url)) == 0
    output = capsys.readouterr().out
    for text in (
        "engine: OpenAI: m",
        "monte_carlo: MonteCarlo(rollouts=2, stop_early=False), with engine",
        "problem: 'Add 3 and 4, then double.', answer '14'",
        "solution: 3 steps, finish reason stop, answer '14': correct",
        "2 characters of reasoning apart from it",
        f"monte_carlo: {LINES[0].strip()!r} is continued with 'Twice 7 is 14.",
        "judge: 1 of 1 replies have a verdict; steps: correct, correct, correct",
    ):
        assert text in output
    # The tokens of the proof are counted with the others.
    assert "tokens read" in output
    assert not Path(tmp_path, "data").exists()


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (JudgingModel(turn="ignored"), "monte_carlo: FAULT engines.openai: m at http"),
        (JudgingModel(turn="closed"), "(it starts a new answer)"),
        (JudgingModel(content=lambda text: None), "solution: FAULT the engine returned no text"),
    ],
)
def test_check_finds_faults(
    model: ChatModel,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with served(model) as url:
        assert stepmark(monkeypatch, "check", write_run_file(tmp_path, url)) == 2
    assert text in capsys.readouterr().out
    assert not Path(tmp_path, "data").exists()


def test_check_shows_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = JudgingModel(finish_reason="ran_dry", choices=1, usage=lambda prompt, generated: None)
    model.verdicts = "I cannot say."
    with served(model) as url:
        assert stepmark(monkeypatch, "check", write_run_file(tmp_path, url)) == 2
    output = capsys.readouterr().out
    for text in (
        "the finish reason 'ran_dry'",
        "the server counts no tokens",
        "the server returned 1 of 2 choices, and the others are requested again; set max_n = 1",
        "judge: FAULT 0 of 1 replies have a verdict",
        "the first reply: 'I cannot say.'",
    ):
        assert text in output


async def test_check_reports_missing_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await refusing_url()
    run_file = write_run_file(tmp_path, url)
    assert await asyncio.to_thread(stepmark, monkeypatch, "check", run_file) == 2
    assert "solution: FAULT no answer from http://127.0.0.1" in capsys.readouterr().out


def modification_times(folder: Path) -> Mapping[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_check_uses_existing_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(JudgingModel()) as url:
        run_file = write_run_file(tmp_path, url)
        assert stepmark(monkeypatch, "run", run_file) == 0
        before = modification_times(tmp_path / "data")
        run_file = write_run_file(tmp_path, url, problems=None)
        assert stepmark(monkeypatch, "check", run_file) == 0
    assert "solution: 3 steps: correct" in capsys.readouterr().out
    assert modification_times(tmp_path / "data") == before


@pytest.mark.parametrize("turn", ["ignored", "closed", "rejected", "repeated", "reasoning"])
def test_run_refuses_other_solutions(
    turn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(JudgingModel(turn=turn)) as url:
        assert stepmark(monkeypatch, "run", write_run_file(tmp_path, url)) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert "does not continue an answer" in errors
        assert "use api = 'completions'" in errors
        # Methods without rollouts need no continuation.
        dataset = Dataset(str(tmp_path / "data"))
        assert column(dataset.read(annotations("judge")), "first_error") == [-1] * 4
        assert not dataset.shards(annotations("monte_carlo"))
        assert not dataset.shards(LABELS)
        label = {"use": "consensus", "rule": "majority", "min_agreeing": 1}
        run_file = write_run_file(
            tmp_path, url, annotators=[{"use": "judge", "votes": 1}], label=label
        )
        assert stepmark(monkeypatch, "run", run_file) == 0


def test_quirks_change_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = JudgingModel(
        finish_reason="eos_token",
        usage=lambda prompt, generated: {"prompt_tokens": None},
        content=lambda text: [{"type": "text", "text": text}],
        fields={"reasoning": "I think."},
    )
    with served(parts) as url:
        assert stepmark(monkeypatch, "run", write_run_file(tmp_path, url)) == 0
    dataset = Dataset(str(tmp_path / "data"))
    for trace in dataset.read(TRACES):
        assert trace.steps == LINES
        assert (trace.outcome, trace.finish_reason, trace.reasoning) == (
            "correct",
            "stop",
            "I think.",
        )
    for row in dataset.read(annotations("monte_carlo")):
        assert column(row.steps, "value") == [1.0, 1.0, 1.0]
    assert {rollout.reasoning for rollout in dataset.read(rollouts("monte_carlo"))} == {"I think."}
    assert {critique.reasoning for critique in dataset.read(critiques("judge"))} == {"I think."}


def test_lone_surrogates_end_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a trace is in the requests of the methods, which cannot contain a surrogate."""
    with served(JudgingModel(content=lambda text: f"{text} \ud800")) as url:
        assert stepmark(monkeypatch, "check", write_run_file(tmp_path, url)) == 0
        assert stepmark(monkeypatch, "run", write_run_file(tmp_path, url)) == 0
    dataset = Dataset(str(tmp_path / "data"))
    assert {trace.steps[-1][-2:] for trace in dataset.read(TRACES)} == {" \ufffd"}
