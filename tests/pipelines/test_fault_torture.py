"""Runs on faulty servers, which `make torture` compares with an undisturbed run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engines.fake_server import Answer
from tests.engines.faulty_server import FaultyModel
from tests.pipelines import fault_torture
from tests.pipelines.fault_torture import FaultSettings, run_with_faults
from tests.pipelines.faulty_runs import run_at, served
from tests.pipelines.simulated import Model
from verifiers.isolation.pool import VerifierPool


def test_faults_are_counted_and_harmless() -> None:
    result = run_with_faults(FaultSettings(faults=10, seed=7, fewest_of_a_kind=0))
    assert result.errors == []
    assert result.faults.total() >= 10
    assert result.to_dict()["runs"] == result.runs >= 1


def test_stored_failures_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem is rejected at each attempt, until the option for it requests it again."""
    problem = Model().problems[0]

    def special(request: Mapping[str, Any]) -> Answer | None:
        is_rejected = problem.question in request["messages"][-1]["content"]
        return Answer(400) if is_rejected else None

    # The torture ends after one fault, and this one is harmless.
    rejecting = served(Model(), special=special, first=1, kinds=["slow"])
    monkeypatch.setattr(fault_torture, "_models", lambda seed: [rejecting])
    result = run_with_faults(FaultSettings(faults=1, seed=7, fewest_of_a_kind=0))
    assert result.errors == []
    assert result.runs_with_failed_rows == 1


def test_failing_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(folder: Path, workers: VerifierPool, models: Sequence[FaultyModel]) -> None:
        await run_at(folder, workers, models)
        if folder.name != "undisturbed":
            raise RuntimeError("it broke")

    monkeypatch.setattr(fault_torture, "run_at", fail)
    result = run_with_faults(FaultSettings(faults=1, seed=7, fewest_of_a_kind=0))
    assert result.errors == ["seed 7: RuntimeError: it broke"]
