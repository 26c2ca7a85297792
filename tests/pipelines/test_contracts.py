"""Contract tests for plugin authors: they accept all built-in plugins, and find broken ones."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.contracts.base import Subject
from pipelines.contracts.runner import CONTRACTS, results
from pipelines.contracts.subject import subject_of
from stepmark import plugins
from stepmark.errors import PluginError, UserError
from tests.docs.markdown import blocks
from tests.stepmark.outside_plugins import MARKING, code_of, plugin_file

PARAMETERS: dict[str, Any] = {"scripted": {"replies": {"": ("two",)}}}
# They need a server, the Hub, a GPU or files.
NEEDY = ("openai", "vllm", "huggingface", "files", "contamination")
# One of its kind is enough: a connection to a dataset takes long.
VALUES = ("rpe",)
BUILT_IN = []
for plugin_kind in CONTRACTS:
    for plugin_id in plugins.available(plugin_kind):
        if plugin_id not in NEEDY and (plugin_kind != "storage.values" or plugin_id in VALUES):
            BUILT_IN.append((plugin_kind, plugin_id))


def failures(subject: Subject) -> dict[str, str]:
    """Return how a plugin breaks its contract, by check."""
    return {result.what: result.failure for result in results(subject) if result.failure}


def example(class_name: str) -> str:
    """Return the code of a plugin in the documentation."""
    page = blocks("docs/extending.md", "python")
    return next(block.text for block in page if f"class {class_name}" in block.text)


def test_every_kind_has_a_contract() -> None:
    assert CONTRACTS.keys() == plugins.PLUGIN_PACKAGES.keys()


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_built_in_plugins_pass(kind: str, name: str) -> None:
    assert failures(Subject(kind=kind, use=name, parameters=PARAMETERS.get(name, {}))) == {}


@pytest.mark.parametrize("class_name", ["Retractions", "ShortQuestions", "ValueBefore"])
def test_documented_plugins_pass(class_name: str, tmp_path: Path) -> None:
    path = plugin_file(tmp_path / "example.py", example(class_name))
    assert failures(subject_of(str(path))) == {}


DOCUMENTED = "is documented, with all its fields"
ONE_VALUE = "has one value per step"
FILTER_CHECK = "gives a reason for each dropped trace"
METHOD_CHECK = "annotates every trace, whatever a model replies"


@pytest.mark.parametrize(
    ("class_name", "old", "new", "broken"),
    [
        ("Retractions", "frozen=True, ", "", "is a frozen dataclass"),
        ("Retractions", "    version: ClassVar[int] = 1\n", "", "has a version"),
        (
            "Retractions",
            '"""Call a step',
            '""\n    """Call a step',
            "is documented, with all its fields",
        ),
        (
            "Retractions",
            "frozenset[str]] = frozenset()",
            'frozenset[str]] = frozenset({"engin"})',
            "declares the engines that it uses",
        ),
        ("Retractions", "* len(trace.steps)", "* 3", METHOD_CHECK),
        ("Retractions", "retracted = []", "retracted = trace.steps[99]", METHOD_CHECK),
        ("Retractions", "[StepAnnotation()]", "[StepAnnotation(value=2.0)]", METHOD_CHECK),
        (
            "Retractions",
            "[StepAnnotation()]",
            "[StepAnnotation(value=__import__('random').random())]",
            "is deterministic",
        ),
        ("ShortQuestions", '"""The length of', '_ = """The length of', DOCUMENTED),
        ("ShortQuestions", "[trace.trace_id] = f", "['other'] = f", FILTER_CHECK),
        ("ShortQuestions", 'f"question of', 'f"question\\n of', FILTER_CHECK),
        (
            "ShortQuestions",
            "if len(problem.question) > self.max_characters:",
            "if not reasons:",
            "depends on the set of traces, not on their order",
        ),
        ("ValueBefore", "WHERE method = source", "", ONE_VALUE),
        ("ValueBefore", "before AS value", "trials AS value", "has the declared columns"),
        ("ValueBefore", "step_index, before", "step_index + 1 AS step_index, before", ONE_VALUE),
    ],
)
def test_broken_plugin_fails(
    class_name: str, old: str, new: str, broken: str, tmp_path: Path
) -> None:
    code = example(class_name)
    assert old in code
    path = plugin_file(tmp_path / "example.py", code.replace(old, new))
    assert broken in failures(subject_of(str(path)))


def test_kind_is_found_without_execution(tmp_path: Path) -> None:
    path = plugin_file(tmp_path / "marked.py", f"{MARKING}\nclass A:\n    def drop(self): ...\n")
    assert subject_of(str(path)).kind == "filters"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("x = (", "is no Python"),
        ("class A: ...", "the methods of these kinds: none"),
        (
            "class A:\n    def drop(self): ...\n    def rows(self): ...",
            "these kinds: filters, storage.formats; name one with --kind",
        ),
    ],
)
def test_unclear_kind_is_one_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        subject_of(str(path))


def test_unknown_plugin_is_one_line() -> None:
    for name in ("nope", "nope.judge", ""):
        with pytest.raises(PluginError, match=r"is not KIND.ID or a file"):
            subject_of(name)


def test_command_reports_each_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin_file(tmp_path / "short.py", code_of().replace("version: ", "versio: "))
    monkeypatch.setattr(sys, "argv", ["stepmark", "test-plugin", "short.py", "--set", "limit=3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    lines = capsys.readouterr().out.splitlines()
    assert "ok     filters.short is a frozen dataclass" in lines
    assert "FAILED filters.short has a version" in lines
