"""The Python API: lazy names, queries in every library, displays, and runs in a notebook."""

import ast
import asyncio
import builtins
import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import stepmark
from pipelines.api import commands
from pipelines.api.datasets import to_html
from stepmark.errors import ConfigError, DatasetError, InstallError
from stepmark.public_names import PUBLIC_NAMES
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations
from storage.formats import trl
from tests.docs.markdown import ROOT
from tests.pipelines.one_verifier import use_one_verifier
from tests.pipelines.running import run_file
from tests.storage.samples import ANNOTATION, LABEL, PROBLEM, TRACE

HOSTILE = "<script>alert(1)</script> [red]x[/red] \x1b[31m\u202e & \" '"

# The checker knows the names from the stub, and this module reads them as a user does.
api: Any = stepmark


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """A dataset with one hostile trace."""
    stored = Dataset(str(tmp_path / "dataset"))
    steps = ("first\n", HOSTILE)
    stored.write_run_file("")
    stored.write_part(PROBLEMS, 0, [replace(PROBLEM, question=HOSTILE)], "f")
    trace = replace(TRACE, trace_id="hostile", problem_id=PROBLEM.problem_id, steps=steps)
    stored.write_part(TRACES, 0, [trace], "f")
    annotated = replace(
        ANNOTATION, trace_id="hostile", method="judge", steps=(ANNOTATION.steps[0],) * 2
    )
    stored.write_part(annotations("judge"), 0, [annotated], "f")
    label = replace(LABEL, trace_id="hostile", steps=(LABEL.steps[0],) * 2)
    stored.write_part(LABELS, 0, [label], "f")
    return stored.uri


def test_every_name_is_importable() -> None:
    for name, target in PUBLIC_NAMES.items():
        module, _, attribute = target.partition(":")
        assert getattr(api, name) is getattr(import_module(module), attribute)
        # An alias of a type has no docstring.
        assert getattr(api, name).__doc__ or name == "Candidates", name
    assert dir(stepmark) == sorted(PUBLIC_NAMES)
    assert api.open is not builtins.open


def test_stub_has_the_same_names() -> None:
    stub = ast.parse((ROOT / "stepmark" / "__init__.pyi").read_text(encoding="utf-8"))
    sources = dict[str, str]()
    listed: list[str] = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                sources[alias.asname or alias.name] = f"{node.module}:{alias.name}"
        elif isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)
    assert sources == PUBLIC_NAMES
    assert listed == sorted(PUBLIC_NAMES)


def test_import_is_lazy() -> None:
    code = (
        "import sys, stepmark; from stepmark import plugins, errors; "
        "assert not hasattr(stepmark, 'nothing'); stepmark.Trace; "
        "print([name for name in sys.modules if name.startswith(('pipelines', 'duckdb', 'rich'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_query_in_every_library(dataset: str) -> None:
    opened = api.open(dataset)
    assert {"traces", "steps", "verdicts"} <= set(opened.tables)
    rows = opened.sql("SELECT step_index, text FROM steps ORDER BY 1")
    expected = [(0, "first\n"), (1, HOSTILE)]
    assert rows.rows() == expected
    assert rows.columns == ["step_index", "text"]
    assert len(rows) == 2
    assert list(rows.pandas().itertuples(index=False, name=None)) == expected
    assert rows.polars().rows() == expected
    assert rows.arrow().to_pylist()[1]["text"] == HOSTILE
    assert rows.duckdb().aggregate("count(*)").fetchall() == [(2,)]
    assert opened.table("traces").rows()[0][0] == "hostile"
    assert opened.sql("SELECT $a", {"a": HOSTILE}).rows() == [(HOSTILE,)]
    with opened.connect() as connection:
        assert connection.sql("SELECT count(*) FROM traces").fetchall() == [(1,)]


def test_missing_polars_is_named(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InstallError, match="pip install polars"):
        api.open(dataset).table("traces").polars()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda uri: api.open(f"{uri}/nothing"), DatasetError),
        (lambda uri: api.open(uri).table('x" UNION SELECT 1 --'), ConfigError),
        (lambda uri: api.open(uri).sql("DROP TABLE traces"), ConfigError),
        (lambda uri: api.open(uri).sql("FROM read_csv('/etc/passwd')"), ConfigError),
        (lambda uri: api.open(uri).trace("nothing"), ConfigError),
    ],
)
def test_mistakes_are_user_errors(
    call: Callable[[str], object], error: type[Exception], dataset: str
) -> None:
    with pytest.raises(error) as caught:
        call(dataset)
    assert "\n" not in str(caught.value)


def test_displays_escape_hostile_text(dataset: str) -> None:
    opened = api.open(dataset)
    trace = opened.trace("host", critiques=True, rollouts=True)
    rows = opened.sql(f'SELECT text, 1 AS "{"<b>"}" FROM steps')
    for item in (trace, rows):
        page = item._repr_html_()
        assert "<script>" not in page
        assert "<b>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "[red]x[/red]" in page
        assert "\x1b" not in repr(item)
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(item)
        text = console.export_text()
        assert "\x1b[31m" not in text
        assert "[red]x[/red]" in text
    assert repr(trace) == "<trace hostile>"


def test_long_results_are_shortened(dataset: str) -> None:
    rows = api.open(dataset).sql("SELECT range, repeat('x', 1000) AS long FROM range(30)")
    page = rows._repr_html_()
    assert page.count("<tr>") == 21
    assert "the first 20 of 30 rows" in page
    assert "x" * 201 not in page
    assert to_html(rows).count("…") >= 20


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The tables of a small run file."""
    use_one_verifier(monkeypatch)
    monkeypatch.chdir(tmp_path)
    reply = "1 + 1 = 3\nThe answer is \\boxed{3}."
    path = run_file(tmp_path, engine={"use": "scripted", "replies": {"": [reply]}})
    return tomllib.loads(Path(path).read_text())


def test_run_label_score_and_export(tables: dict[str, Any]) -> None:
    summary = api.run("run.toml", ["problems.count=2"])
    assert summary.counts["problems"] == "2"
    assert summary.stopped == ""
    assert "labels kept" in summary._repr_html_()
    # A dictionary is the same run file, so that nothing is made again.
    tables["problems"]["count"] = 2
    again = api.label(tables)
    assert again.counts["this run"].endswith("0 tokens written, 0/s")
    scored = api.score(summary.dataset, gold="formal")
    assert "labels (consensus)" in scored
    result = api.export(summary.dataset, "trl", "out", labels_by="formal")
    assert result.rows + sum(result.left_out.values()) == 4
    assert (
        trl.Trl().schema.names
        == api.open("dataset").sql("SELECT 1 AS prompt, 1 AS completions, 1 AS labels").columns
    )
    with pytest.raises(ConfigError, match="change the dictionary instead"):
        api.run(tables, ["seed=2"])


def test_run_in_a_notebook(tables: dict[str, Any]) -> None:
    async def cell() -> Any:
        # The event loop of a notebook is running.
        return api.run({**tables, "problems": {"use": "word_problems", "count": 1}})

    assert asyncio.run(cell()).counts["problems"] == "1"


def test_interrupt_in_a_notebook_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stored")

    async def cell() -> None:
        # Ctrl-C arrives while the thread of the notebook waits.
        def interrupt(self: object, timeout: float | None = None) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            commands._run_to_end(work())

    asyncio.run(cell())
    assert ended == ["stored"]


def test_import_returns_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "solutions.jsonl"
    row = {"question": "1 + 1?", "solution": "1 + 1 = 2\nSo 2."}
    path.write_text(json.dumps(row))
    imported = api.import_solutions(str(path), str(tmp_path / "data"))
    assert len(imported.table("traces")) == 1
    assert len(imported.trace(imported.table("traces").rows()[0][0]).details.trace.steps) == 2


def test_bad_tables_are_user_errors() -> None:
    with pytest.raises(ConfigError, match="the run file: unknown key 'nope'"):
        api.run({"dataset": "d", "nope": 1})
