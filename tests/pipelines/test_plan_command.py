"""The command `plan`: its output as a table and as JSON."""

import json
from pathlib import Path

from typer.testing import CliRunner

from pipelines.cli.app import app
from stepmark.errors import ConfigError
from tests.pipelines.running import run_file


def test_command_prints_an_estimate(tmp_path: Path) -> None:
    path = run_file(tmp_path, prices={"generated": 1e6})
    result = CliRunner().invoke(app, ["plan", path, "--pilot", "2", "--json"])
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)
    assert estimate["problems"] == 4
    # Each of the four samples that are left has nine tokens, for a price of one each.
    assert estimate["cost"]["expected"] == estimate["generated_tokens"]["expected"] == 36
    assert estimate["bytes"] > 0
    table = CliRunner().invoke(app, ["plan", path])
    assert "4 completions of 36 generated tokens are stored and subtracted" in table.stdout


def test_plans_of_impossible_runs_fail(tmp_path: Path) -> None:
    path = run_file(tmp_path)
    solutions = tmp_path / "solutions.jsonl"
    row = {"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 2\nThe answer is 2."}
    solutions.write_text(json.dumps(row), encoding="utf-8")
    dataset = str(tmp_path / "dataset")
    imported = CliRunner().invoke(app, ["import", str(solutions), "--dataset", dataset])
    assert imported.exit_code == 0, imported.output
    for pilot in ("0", "1"):
        result = CliRunner().invoke(app, ["plan", path, "--pilot", pilot])
        assert isinstance(result.exception, ConfigError)
        assert "holds imported traces" in str(result.exception)
    result = CliRunner().invoke(app, ["plan", path, "--set", "budget.cost=1"])
    assert isinstance(result.exception, ConfigError)
    assert "budget.cost needs the prices" in str(result.exception)
