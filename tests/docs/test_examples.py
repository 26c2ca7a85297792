"""The plugins that the documentation shows work when they are saved as files of their packages."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepmark import plugins
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.queries.sql import query
from tests.annotators.simulated import annotate_trace, last_sample_solves, trace_of
from tests.docs.markdown import blocks
from tests.filters import samples

EXTENDING = "docs/extending.md"


def install(
    page: str, class_name: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Save the example with this class as a plugin named `example`, and build it."""
    package = importlib.import_module(plugins.PLUGIN_PACKAGES[kind])
    code = next(b.text for b in blocks(page, "python") if f"class {class_name}" in b.text)
    (folder / "example.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.example", raising=False)
    plugin = plugins.build(kind, {"use": "example"})
    # The module of this example must not answer for the next one.
    monkeypatch.delitem(sys.modules, f"{package.__name__}.example")
    return plugin


@pytest.mark.parametrize("page", ["README.md", EXTENDING])
@pytest.mark.parametrize(
    ("third_step", "first_error"), [("  Wait, 2 + 2 is 4.", 1), ("So wait for it.", None)]
)
async def test_retractions_example_finds_step(
    third_step: str,
    first_error: int | None,
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = install(page, "Retractions", "annotators", tmp_path, monkeypatch)
    trace = replace(trace_of(3), steps=("2 is even.\n", "2 + 2 is 5.\n", third_step))
    annotation = (await annotate_trace(method, trace, last_sample_solves)).annotation
    assert (annotation.first_error, annotation.error) == (first_error, None)
    is_wrong = [step.verdict is Verdict.INCORRECT for step in annotation.steps]
    assert is_wrong == [False, first_error == 1, False]


def test_filter_example_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_questions = install(EXTENDING, "ShortQuestions", "filters", tmp_path, monkeypatch)
    candidate = samples.candidate("trace")
    strict = replace(short_questions, max_characters=1)
    assert samples.drops(short_questions, [candidate]) == {}
    assert list(samples.drops(strict, [candidate])) == ["trace"]


def test_values_example_is_a_macro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(EXTENDING, "ValueBefore", "storage.values", tmp_path, monkeypatch)
    (tmp_path / "dataset" / "problems").mkdir(parents=True)
    rows = query(Dataset(str(tmp_path / "dataset")), "FROM example(source := 'judge')")
    assert rows.column_names == ["trace_id", "step_index", "value"]
