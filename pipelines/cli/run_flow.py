"""Execution of a run file in a Prefect flow, for the commands `run` and `label`."""

import asyncio
import gc
import sys
from collections.abc import Sequence
from dataclasses import replace

import typer

from pipelines.cli.tables import print_summary
from pipelines.run.options import RunOptions
from stepmark.errors import ReplacesError

__all__ = ["run_flow"]


def run_flow(
    run_file: str,
    overrides: Sequence[str],
    *,
    makes_traces: bool,
    recompute: bool = False,
    retry_failed: bool = False,
    workers: int = 1,
) -> None:
    """Prepare a run file, run its flow, and print the summary.

    On a terminal, ask before traces are replaced by other ones.

    Raises:
        ReplacesError: Traces would be replaced, and neither `recompute` nor the user allowed it.
    """
    options = RunOptions(recompute=recompute, retry_failed=retry_failed, workers=workers)
    try:
        _run(run_file, overrides, makes_traces, options)
    except ReplacesError as error:
        if not sys.stdin.isatty() or not typer.confirm(f"{error}\nReplace them now?", err=True):
            raise
        _run(run_file, overrides, makes_traces, replace(options, recompute=True))


def _run(run_file: str, overrides: Sequence[str], makes_traces: bool, options: RunOptions) -> None:
    # Imported late: importing Prefect would slow down every command, `stepmark --help` included.
    from pipelines.run import flow
    from pipelines.run.config import public_override
    from pipelines.run.prefect_server import reachable_server

    # Without this the interpreter takes seconds at exit to scan the objects that importing Prefect
    # has created.
    gc.freeze()
    job = flow.prepare(run_file, overrides, options, makes_traces=makes_traces)
    # Prefect stores and displays the parameters of a flow; the prepared job has the values.
    shown = [public_override(override) for override in overrides]
    with reachable_server():
        rows = asyncio.run(flow.perform(job, run_file, shown, makes_traces=makes_traces))
    print_summary(job.dataset.uri, rows)
