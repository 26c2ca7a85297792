"""`stepmark check`."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import typer

from pipelines.cli.options import Overrides, RunFileArgument
from stepmark.secrets import redact_urls
from stepmark.visible_text import visible

if TYPE_CHECKING:
    from pipelines.run.check import Finding

__all__ = ["check"]

# The same exit status as that of the run, which would end with an error.
FAULTY = 2


def check(run_file: RunFileArgument, overrides: Overrides = []) -> None:  # noqa: B006
    """Check a run file, its engines, its grader and its judges with one problem.

    Prints what the run will do and takes less than a minute. Writes nothing into the dataset. Exit
    status 2 if a run would fail.
    """
    import asyncio
    from pathlib import Path

    from pipelines.run import plan as planning
    from pipelines.run.check import check_run, describe_run
    from pipelines.run.code_folder import code_folder_of
    from pipelines.run.config import load
    from pipelines.run.meter import Meter
    from pipelines.run.run_context import RunContext
    from storage.dataset.dataset import Dataset

    settings = load(Path(run_file), overrides)
    plan = planning.build(settings, run_file, code_folder=code_folder_of(Path(run_file)))
    run = RunContext(plan=plan, dataset=Dataset(settings.dataset), meter=Meter())
    for finding in describe_run(run):
        _print(finding)
    typer.echo()
    faults = asyncio.run(_print_all(check_run(run)))
    if faults:
        raise typer.Exit(FAULTY)


async def _print_all(findings: "AsyncIterator[Finding]") -> int:
    """Print findings and return the number of faults."""
    faults = 0
    async for finding in findings:
        _print(finding)
        faults += finding.is_fault
    return faults


def _print(finding: "Finding") -> None:
    mark = "FAULT " if finding.is_fault else ""
    typer.echo(visible(redact_urls(f"{finding.what}: {mark}{finding.text}")))
