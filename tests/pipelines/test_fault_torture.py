"""Runs on faulty servers, which `make torture` compares with an undisturbed run."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.faulty_server import FaultyModel
from tests.pipelines import fault_torture as faults
from tests.pipelines.fault_torture import FaultSettings, run_with_faults
from verifiers.isolation.pool import VerifierPool


def test_faults_are_counted_and_harmless() -> None:
    result = run_with_faults(FaultSettings(faults=10, seed=7, fewest_of_a_kind=0))
    assert result.errors == []
    assert result.faults.total() >= 10
    assert result.to_dict()["runs"] == result.runs >= 1


def test_stored_failures_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    served = faults._served

    def rejecting(seed: int, share: float = 0.7) -> FaultyModel:
        """Return a server that rejects most requests, or the healthy one."""
        return replace(served(seed, share), kinds=("400",))

    monkeypatch.setattr(faults, "_served", rejecting)
    result = run_with_faults(FaultSettings(faults=1, seed=7, fewest_of_a_kind=0))
    assert result.errors == []
    assert result.runs_with_failed_rows == 1


def test_failing_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = faults._run

    async def fail(folder: Path, workers: VerifierPool, models: list[FaultyModel]) -> None:
        await run(folder, workers, models)
        if folder.name != "undisturbed":
            raise RuntimeError("it broke")

    monkeypatch.setattr(faults, "_run", fail)
    result = run_with_faults(FaultSettings(faults=1, seed=7, fewest_of_a_kind=0))
    assert result.errors == ["seed 7: RuntimeError: it broke"]
