"""`stepmark label`."""

from pipelines.cli.options import Overrides, RetryFailed, RunFileArgument, Workers
from pipelines.cli.run_flow import run_flow

__all__ = ["label"]


def label(
    run_file: RunFileArgument,
    overrides: Overrides = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    workers: Workers = 1,
) -> None:
    """Annotate and label the existing traces of a dataset."""
    run_flow(run_file, overrides, makes_traces=False, retry_failed=retry_failed, workers=workers)
