"""`stepmark label`."""

from pipelines.cli.options import Overrides, RunFileArgument
from pipelines.cli.run_flow import run_flow

__all__ = ["label"]


def label(run_file: RunFileArgument, overrides: Overrides = []) -> None:  # noqa: B006
    """Annotate and label the existing traces of a dataset."""
    run_flow(run_file, overrides, makes_traces=False)
