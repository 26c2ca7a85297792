"""Preparation of a run: its plugins are built, its input files, models and dataset checked."""

from itertools import islice
from pathlib import Path

from pipelines.run import plan as planning
from pipelines.run.config import RunFile
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.tracing import configured_tracing
from stepmark.errors import ConfigError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES

__all__ = ["prepare"]


def prepare(
    settings: RunFile,
    options: RunOptions | None = None,
    *,
    run_file: str = "run file",
    makes_traces: bool,
    writes: bool = True,
    code_folder: Path | None = None,
) -> Job:
    """Build the plugins of a run file, and check its input files, models and dataset.

    Args:
        settings: The content of the run file.
        options: The options of the command.
        run_file: What error messages call the run file.
        makes_traces: Whether the run makes traces, or labels those that exist.
        writes: Whether the dataset must be writable.
        code_folder: The folder from which the paths of plugin files start; without it the run file
            may name none.

    Raises:
        UserError: Something is missing or invalid. Nothing has been started.
    """
    if settings.budget.cost and settings.prices.of(1, 1) is None:
        raise ConfigError(f"{run_file}: budget.cost needs the prices of tokens: set [prices]")
    plan = planning.build(settings, run_file, code_folder=code_folder)
    dataset = Dataset(settings.dataset)
    job = Job(
        plan=plan,
        dataset=dataset,
        meter=Meter(),
        options=options or RunOptions(),
        tracing=configured_tracing(),
    )
    if makes_traces:
        if plan.source is None or plan.engine is None:
            raise ConfigError(
                f"{run_file}: a run needs [problems] and [engine]; "
                "to label traces that exist use `stepmark label`"
            )
        # Fails if the weights of a local model cannot be read.
        job.fingerprints.solutions(plan.engine)
        next(iter(plan.source.problems()), None)  # fails if the problems cannot be read
    job.fingerprints.filters()  # fails if an evaluation set cannot be read
    if not makes_traces:
        dataset.require()
    elif _has_imported_traces(dataset):
        raise ConfigError(
            f"{dataset.uri} holds imported traces: run into another folder, "
            "or label them with `stepmark label`"
        )
    if writes:
        dataset.check_writable()
    return job


def _has_imported_traces(dataset: Dataset) -> bool:
    """Return whether the traces of a dataset were imported.

    Imported traces carry no sampling parameters, and a dataset holds at most one import, so the
    first trace of the first complete part is enough.
    """
    for shard in dataset.shards(TRACES):
        if dataset.footer(TRACES, shard) is not None:
            first = list(islice(dataset.read_part(TRACES, shard), 1))
            return any(trace.sampling is None for trace in first)
    return False
