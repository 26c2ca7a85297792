"""Execution of a run's stages without Prefect, whose server takes most of the time of a small run.

`test_flow`, `test_commands`, `test_programs` and `test_kill` test the flows on a Prefect server.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from pipelines.run import flow, prefect_server
from pipelines.run.job import Job
from verifiers.isolation.pool import VerifierPool


def run_without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs execute their stages directly, in the order in which the flow executes them.

    Each run starts one verifier worker instead of two.
    """

    async def perform(
        job: Job, run_file: str, overrides: Sequence[str], *, makes_traces: bool
    ) -> Sequence[Mapping[str, str]]:
        return await flow.run_job(job, makes_traces=makes_traces)

    def task(job: Job, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        return work

    async def no_artifact(**content: object) -> None:
        """Store nothing: there is no server."""

    monkeypatch.setattr(flow, "perform", perform)
    monkeypatch.setattr(flow, "prefect_task", task)
    monkeypatch.setattr(flow, "acreate_table_artifact", no_artifact)
    monkeypatch.setattr(prefect_server, "reachable_server", nullcontext)
    # A second worker would import the verifiers again, which takes longer than its claims.
    defaults = VerifierPool.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(VerifierPool.__init__, "__kwdefaults__", {**defaults, "workers": 1})
