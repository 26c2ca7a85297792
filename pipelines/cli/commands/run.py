"""`stepmark run`."""

from pipelines.cli.options import Overrides, RunFileArgument
from pipelines.cli.run_flow import run_flow

__all__ = ["run"]


def run(run_file: RunFileArgument, overrides: Overrides = []) -> None:  # noqa: B006
    """Run all stages of a run file. A rerun resumes where the last one stopped."""
    run_flow(run_file, overrides, makes_traces=True)
