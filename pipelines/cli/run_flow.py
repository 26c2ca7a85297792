"""Execution of a run file in a Prefect flow, for the commands `run` and `label`."""

import asyncio
import gc
from collections.abc import Sequence

from pipelines.cli.tables import print_summary

__all__ = ["run_flow"]


def run_flow(run_file: str, overrides: Sequence[str], *, makes_traces: bool) -> None:
    """Prepare a run file, run its flow, and print the summary."""
    # Imported late: importing Prefect would slow down every command, `stepmark --help` included.
    from pipelines.run import flow
    from pipelines.run.prefect_server import reachable_server

    # Without this the interpreter takes seconds at exit to scan the objects that importing Prefect
    # has created.
    gc.freeze()
    job = flow.prepare(run_file, overrides, makes_traces=makes_traces)
    with reachable_server():
        rows = asyncio.run(flow.perform(job, run_file, overrides, makes_traces=makes_traces))
    print_summary(job.dataset.uri, rows)
