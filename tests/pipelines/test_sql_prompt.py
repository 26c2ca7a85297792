"""The prompt of `stepmark sql`, and the output of its results."""

import csv
import io
import signal
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from pipelines.sql_prompt import prompt as prompt_module
from pipelines.sql_prompt.completion import SqlCompleter
from pipelines.sql_prompt.output import MAX_TABLE_ROWS, Expanded, result_output
from pipelines.sql_prompt.prompt import Prompt, history_file
from pipelines.sql_prompt.runner import QueryRunner
from storage.dataset.dataset import Dataset
from storage.queries.vocabulary import read_vocabulary
from tests.storage.samples import fill

ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 8;"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> QueryRunner:
    dataset = Dataset(str(tmp_path_factory.mktemp("prompt") / "dataset"))
    fill(dataset)
    return QueryRunner(dataset=dataset, timeout=60.0, memory=512)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


@pytest.fixture
def prompt(
    runner: QueryRunner, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Prompt:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Prompt(runner, console)


def printed(console: Console) -> str:
    """Return what was printed since the last call."""
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


def execute(prompt: Prompt, console: Console, text: str) -> str:
    prompt.execute(text)
    return printed(console)


def test_session_reads_until_the_user_leaves(prompt: Prompt, console: Console) -> None:
    # Ctrl-C clears the first line.
    lines = "SELECT 'a\r\x03SELECT method\rFROM annotations\rORDER BY 1;\r:longest 1\r\\q\r"
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text(lines)
        prompt.run()
    out = printed(console)
    assert out.index("formal") < out.index("judge") < out.index("generated_tokens")
    assert "Error" not in out
    history = history_file()
    assert "+SELECT method\n+FROM annotations\n" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_end_of_input_leaves(prompt: Prompt) -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("\x04")
        prompt.run()


def test_history_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert isinstance(prompt_module._history(), InMemoryHistory)


def test_commands(prompt: Prompt, console: Console, tmp_path: Path) -> None:
    views = execute(prompt, console, "\\d")
    assert "verdicts" in views
    assert "rpe(" in views
    assert "judge_rationale" in execute(prompt, console, "\\d steps;")
    assert "there is no view 'nope'" in execute(prompt, console, "\\d nope")
    assert "\\timing" in execute(prompt, console, "\\?")
    assert ":kappa" in execute(prompt, console, ":")
    assert "there is no command \\z" in execute(prompt, console, "\\z")
    assert "there is no query 'z'" in execute(prompt, console, ":z")
    assert "a quote is not closed" in execute(prompt, console, ":rollouts 'x")
    assert "2 of " not in execute(prompt, console, "\\timing")
    assert execute(prompt, console, "SELECT 1;").rstrip().endswith(" s")
    execute(prompt, console, "\\timing")
    assert "row 1" in execute(prompt, console, "\\x") + execute(prompt, console, "SELECT 1;")
    execute(prompt, console, "\\x off")
    assert "row 1" not in execute(prompt, console, "SELECT 1;")
    assert "write \\x on, \\x off or \\x auto" in execute(prompt, console, "\\x maybe")


def test_next_result_is_written(prompt: Prompt, console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    assert "write a file with one of" in execute(prompt, console, "\\o x.txt")
    execute(prompt, console, f"\\o '{path}'")
    assert "3 rows written to " in execute(prompt, console, "SELECT trace_id FROM labels;")
    execute(prompt, console, "SELECT 1;")
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["trace_id"]
    assert "write \\o and the name of one file" in execute(prompt, console, "\\o")


def test_errors_are_one_line(prompt: Prompt, console: Console) -> None:
    for text in ("SELECT 1; SELECT 2;", "DROP TABLE labels;", "SELEC;"):
        assert "a query is one SELECT" in (out := execute(prompt, console, text)) or "failed" in out


def test_ctrl_c_stops_a_query(prompt: Prompt, console: Console) -> None:
    main_thread = threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, [main_thread, signal.SIGINT])
    timer.start()
    assert execute(prompt, console, ENDLESS) == "stopped\n"
    timer.join()
    assert "(1 row)" in execute(prompt, console, "SELECT 1;")


def test_long_results_are_paged(
    prompt: Prompt, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = list[str]()
    monkeypatch.setattr("pydoc.pager", pages.append)
    monkeypatch.setattr(Console, "is_terminal", True)
    console.height = 20
    assert execute(prompt, console, "FROM range(30);") == ""
    assert "29" in pages[0]
    assert "(1 row)" in execute(prompt, console, "SELECT 1;")


def completions(completer: SqlCompleter, before: str, after: str = "") -> list[str]:
    document = Document(before + after, len(before))
    return [found.text for found in completer.get_completions(document, CompleteEvent())]


def test_completion(runner: QueryRunner) -> None:
    completer = SqlCompleter(read_vocabulary(runner.dataset), ["\\d", "\\q"])
    assert completions(completer, "FROM ste") == ["step_values", "steps"]
    assert "verdicts" in completions(completer, "SELECT 1 FROM ")
    assert completions(completer, "SELECT judge_r", " FROM steps") == ["judge_rationale"]
    assert completions(completer, "SELECT judge_r", " FROM labels") == []
    assert "SELECT" in completions(completer, "sel")
    assert completions(completer, "FROM rp") == ["rpe("]
    assert completions(completer, "\\") == ["\\d", "\\q"]
    assert completions(completer, "\\d ver") == ["verdicts"]
    assert completions(completer, ":kap") == [":kappa"]
    assert completions(completer, "SELECT ") == []


def text_of(table: pa.Table, expanded: Expanded = Expanded.auto) -> str:
    console = Console(file=io.StringIO(), width=60)
    for renderable in result_output(table, console, expanded):
        console.print(renderable)
    return printed(console)


def test_wide_results_are_vertical() -> None:
    wide = pa.table({f"column_{index}": ["x" * 40] for index in range(5)})
    assert "row 1\ncolumn_0  xxxx" in text_of(wide)
    assert "row 1" not in text_of(wide, Expanded.off)
    # A long text is wrapped next to a short one.
    narrow = pa.table({"id": ["a"], "text": ["y" * 500]})
    assert "row 1" not in text_of(narrow)
    assert text_of(narrow).count("y") == 500
    assert text_of(wide).count("x") == 200


def test_hidden_characters_are_visible() -> None:
    table = pa.table({"\x1b[31m": ["[bold]\x1b[0m\u202e"]})
    for expanded in Expanded:
        out = text_of(table, expanded)
        assert not {"\x1b", "\u202e"} & set(out)
        assert "[bold]\\x1b[0m" in out


def test_long_results_name_the_rest() -> None:
    table = pa.table({"i": range(MAX_TABLE_ROWS + 1)})
    assert f"the first {MAX_TABLE_ROWS} of {MAX_TABLE_ROWS + 1} rows" in text_of(table)
    assert "no rows; columns: a" in text_of(pa.table({"a": []}), Expanded.on)
