"""The JSON schema of run files accepts what a run accepts, and finds wrong keys and values."""

import copy
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.__main__ import main
from pipelines.run import plan as planning
from pipelines.run.config import parse
from pipelines.run.schema import run_file_schema
from stepmark.errors import UserError
from tests.columns import column
from tests.docs.markdown import blocks, pages

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = run_file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def tables_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a run file and all tables in it whose keys are fixed."""
    yield value
    for key, item in value.items():
        if key == "engines":
            yield from item.values()
        elif isinstance(item, dict):
            yield item
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield from item


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_valid(path: Path, validator: Any) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    validator.validate(content)
    for index in range(len(list(tables_in(content)))):
        changed = copy.deepcopy(content)
        list(tables_in(changed))[index]["unknown_key"] = 1
        assert not validator.is_valid(changed), f"table {index} accepts an unknown key"


def test_documented_run_files_are_valid(validator: Any) -> None:
    count = 0
    for page in pages():
        for block in blocks(page, "toml"):
            content = {"dataset": "data/x", **tomllib.loads(block.text)}
            assert column(validator.iter_errors(content), "message") == [], block
            count += 1
    assert count > 10


BASE: Mapping[str, Any] = {
    "dataset": "d",
    "problems": {"use": "word_problems"},
    "engine": {"use": "scripted"},
}
VALUES: tuple[Any, ...] = (True, "text", 3, -1, 2.5, 1e300, [], ["a"], [1], {}, {"a": "b"})


@pytest.mark.parametrize(
    ("table", "plugin", "key", "valid"),
    [
        ("problems", "word_problems", "count", 7),
        ("engine", "scripted", "finish_reason", "length"),
        ("annotators", "monte_carlo", "rollouts", 1024),
        ("annotators", "judge", "prompt", ["judge", "judge_strict"]),
        ("annotators", "monte_carlo", "name", "mine"),
        ("label", "fusion", "threshold", 0.5),
        ("filters", "duplicates", "of", ["traces"]),
    ],
)
def test_schema_agrees_with_plan(
    table: str, plugin: str, key: str, valid: object, validator: Any
) -> None:
    accepted = 0
    for value in (valid, *VALUES):
        entry = {"use": plugin, key: value}
        tables = {table: [entry] if table in ("annotators", "filters") else entry}
        content = {**BASE, **tables}
        if table == "filters":
            content["annotators"] = [{"use": "formal"}]
            content["label"] = {"use": "consensus", "rule": "majority", "min_agreeing": 1}
        if table == "label":
            content["annotators"] = [{"use": "monte_carlo"}, {"use": "judge"}]
        try:
            planning.build(parse(content, "run.toml"))
        except UserError:
            continue
        accepted += 1
        # An editor must not mark values as wrong that a run accepts.
        assert validator.is_valid(content), value
    assert 0 < accepted < len(VALUES)
    wrong = {"use": plugin, key: None}
    tables = {table: [wrong] if table in ("annotators", "filters") else wrong}
    assert not validator.is_valid({**BASE, **tables})


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": 1},
        {"seed": "1"},
        {"engine": {"use": "nope"}},
        {"engine": {}},
        {"annotators": {"use": "judge"}},
        {"annotators": [{"use": "monte_carlo", "rollouts": 0}]},
        {"annotators": [{"use": "monte_carlo", "rollouts": True}]},
        {"annotators": [{"use": "consensus"}]},
        {"annotators": [{"rollouts": 2}]},
        {"label": {"use": "judge"}},
        {"generate": {"grader": "answer"}},
        {"run": {"runner": "slurm"}},
        {"engines": {"big": {"use": "openai", "modell": "m"}}},
    ],
    ids=str,
)
def test_wrong_values_are_found(change: Mapping[str, Any], validator: Any) -> None:
    assert validator.is_valid(BASE)
    assert not validator.is_valid({**BASE, **change})


def test_plugin_files_are_accepted(validator: Any) -> None:
    validator.validate({**BASE, "annotators": [{"use": "my/outcome.py", "any": 1, "name": "a"}]})


def test_command_prints_the_schema(
    validator: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stepmark", "schema"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out) == validator.schema
