"""`stepmark label`."""

from pipelines.cli.options import (
    Day,
    JsonProgress,
    Overrides,
    RetryFailed,
    RunFileArgument,
    Shards,
    Workers,
)

__all__ = ["label"]


def label(
    run_file: RunFileArgument,
    overrides: Overrides = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    workers: Workers = None,
    shards: Shards = "",
    json_progress: JsonProgress = False,
    day: Day = None,
) -> None:
    """Annotate and label the existing traces of a dataset."""
    from pipelines.cli.run_flow import run_flow
    from pipelines.run.options import RunOptions

    options = RunOptions(
        retry_failed=retry_failed, json_progress=json_progress, workers=workers, shards=shards
    )
    run_flow(run_file, overrides, options, makes_traces=False, day=day)
