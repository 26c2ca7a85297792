"""The commands `run`, `label`, `import`, `score` and `export` as functions.

They work in a script and in a notebook, whose event loop is already running.
"""

import asyncio
import warnings
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.api.datasets import OpenDataset, to_html
from pipelines.importing import import_command
from pipelines.run.code_folder import code_folder_of
from pipelines.run.config import RunFile, load, parse
from pipelines.run.execution import run_without_server
from pipelines.run.options import RunOptions
from pipelines.run.preparation import prepare
from pipelines.run.run_date import with_date
from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from pipelines.scoring.metrics import Score
from pipelines.token_audit import audit_check
from stepmark import plugins
from stepmark.errors import ConfigError, UnusedLabelWarning
from stepmark.visible_text import visible
from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN
from storage.labelling.side_labels import SideLabels, open_side_labels
from storage.publishing.export import ExportResult
from storage.publishing.export import export as write_export
from storage.publishing.token_audit import TokenAudit

__all__ = ["RunSummary", "export", "import_solutions", "label", "run", "score"]

Result = TypeVar("Result")
RunTables = Mapping[str, Any]
IN_CODE = "the run file"


@dataclass(frozen=True)
class RunSummary:
    """The summary of a run, which a terminal and a notebook display."""

    dataset: OpenDataset
    """The dataset that the run has written."""
    counts: Mapping[str, str]
    """What the dataset has and what this run did, as `stepmark run` prints it."""
    stopped: str = ""
    """Why the run ended before its end; "" if it did not. The same call goes on."""

    def __rich__(self) -> RenderableType:
        """Return a table of rich."""
        table = Table(title=Text(visible(self.dataset.uri)), show_header=False)
        for what, count in self.counts.items():
            table.add_row(Text(visible(what)), Text(visible(count)))
        return table

    def _repr_html_(self) -> str:
        return to_html(self)


def run(
    run_file: str | Path | RunTables,
    overrides: Sequence[str] = (),
    *,
    recompute: bool = False,
    retry_failed: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> RunSummary:
    """Run all stages of a run file, without Prefect. A repeated call resumes.

    Args:
        run_file: The path of a run file, or its tables as a dictionary.
        overrides: Assignments `table.key=value`, as with `--set`.
        recompute: Whether traces may be replaced by other ones.
        retry_failed: Whether to repeat failures and unknown results that have a temporary cause.
        workers: The number of processes that make shards; None for the number in the run file.
        progress: Whether to show the progress on standard error.

    Raises:
        UserError: The run file is invalid, or something that it needs is missing.
        EngineError: A model did not answer, even after retries.
    """
    options = RunOptions(
        recompute=recompute, retry_failed=retry_failed, workers=workers, shows_progress=progress
    )
    return _run(run_file, overrides, options, makes_traces=True)


def label(
    run_file: str | Path | RunTables,
    overrides: Sequence[str] = (),
    *,
    retry_failed: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> RunSummary:
    """Annotate and label the traces of a dataset. The arguments are those of `run`."""
    options = RunOptions(retry_failed=retry_failed, workers=workers, shows_progress=progress)
    return _run(run_file, overrides, options, makes_traces=False)


def import_solutions(
    paths: str | Sequence[str],
    dataset: str,
    *,
    shape: str = "",
    fields: Mapping[str, str] | None = None,
    split: str = "line",
    domain: str = "",
    license: str = "",
    min_step_chars: int = 0,
    labels_by: str = "human",
    labels_from: int | None = None,
) -> OpenDataset:
    """Import existing solutions, with their labels, as a new dataset.

    Args:
        paths: Files (JSONL, Parquet or CSV), or patterns such as "solutions/*.jsonl".
        dataset: The folder or URI of the new dataset.
        shape: The format of the rows, or a plugin file; "" for plain columns.
        fields: Your column by field of Stepmark.
        split: How a solution is split into steps.
        domain: The domain of the problems.
        license: The licence of the solutions.
        min_step_chars: A step with fewer characters is joined with the steps after it.
        labels_by: The method that made the labels in mapped columns.
        labels_from: The number of the first step in mapped labels, 0 or 1; None to find out.

    Raises:
        UserError: The files contain no usable solution, or an argument is invalid.
    """
    importing = import_command.import_dataset(
        [paths] if isinstance(paths, str) else paths,
        dataset,
        shape=shape,
        fields=fields or {},
        split=split,
        domain=domain,
        license=license,
        min_step_chars=min_step_chars,
        labels_by=labels_by,
        labels_from=labels_from,
    )
    _run_to_end(importing)
    return OpenDataset(dataset)


def score(
    dataset: str | OpenDataset, gold: str = "oracle", *, side_labels: str = ""
) -> Mapping[str, Score]:
    """Score every method and the kept labels against gold first errors.

    Args:
        dataset: The dataset.
        gold: A method whose annotations are the truth, or a file with trace_id and first_error.
        side_labels: A folder of labels by hand beside the dataset; "" for none.

    Returns:
        The scores by method, the labels last. Shares are in [0, 1].

    Warns:
        UnusedLabelWarning: Rows of the file, labels of the folder or lines of its journals are not
            used: one warning per cause.
    """
    scored = Dataset(_uri(dataset))
    labels = open_side_labels(side_labels, scored) if side_labels else None
    gold_first_errors, rejected = first_errors(scored, gold, labels)
    unused = [
        f"set aside: {row.file}, row {row.row}, field '{row.field}': {row.reason}"
        for row in rejected
    ]
    if labels is not None:
        unused.extend(_unused_labels(labels, gold))
    _warn_of_unused(unused)
    by_method = dict[str, Score]()
    for (_, method), measures in scores(scored, gold_first_errors, excluded_method=gold).items():
        by_method[method] = measures
    return by_method


def export(
    dataset: str | OpenDataset,
    format: str,
    to: str | Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    labels_by: str = "",
    side_labels: str = "",
    merge: bool = False,
    public: bool = False,
    audit_tokenizer: str | Path = "",
    max_length: int | None = None,
    allow_cut: bool = False,
) -> ExportResult:
    """Write labelled traces in a trainer's format to a folder or the Hugging Face Hub.

    Args:
        dataset: The dataset.
        format: The id of a format, or a plugin file.
        to: A folder, or hf://datasets/ORG/NAME.
        parameters: Values of the format's fields.
        labels_by: A method whose annotations are exported; "" for the kept labels.
        side_labels: A folder of labels by hand beside the dataset, which `labels_by` names; "" for
            none.
        merge: Whether to add a copy of every trace with merged steps.
        public: Whether a new repository on the Hub is public.
        audit_tokenizer: The tokenizer of the trained model, with which every row is checked: a
            folder, or a name on the Hub; "" for no check.
        max_length: With `audit_tokenizer`: the number of tokens at which the trainer truncates;
            None for no truncation.
        allow_cut: With `audit_tokenizer`: whether rows may be longer than `max_length`.

    Returns:
        The counts of the export. `audit` has those of the check.

    Raises:
        UserError: There is nothing to export, the destination cannot be written, or a label would
            be lost or misplaced with the tokenizer; then an earlier export stays.

    Warns:
        UnusedLabelWarning: Labels of the folder or lines of its journals are not used.
    """
    table = {**(parameters or {}), "use": format}
    # The caller has named a plugin file, so it may be executed.
    exporter = plugins.build("storage.formats", table, code_folder=Path())
    source = Dataset(_uri(dataset))
    by_hand = None
    if side_labels:
        by_hand = open_side_labels(side_labels, source)
        by_hand.require(labels_by)
        _warn_of_unused(_unused_labels(by_hand, labels_by))
    audits = list[TokenAudit]()
    check = audit_check(
        exporter, str(audit_tokenizer), max_length, allow_cut=allow_cut, report=audits.append
    )
    result = write_export(
        source,
        exporter,
        str(to),
        labels_by=labels_by,
        side_labels=by_hand.fitted(labels_by).by_trace if by_hand else None,
        merge=merge,
        private=not public,
        check=check,
    )
    return replace(result, audit=audits[-1]) if audits else result


def _unused_labels(labels: SideLabels, method: str) -> Sequence[str]:
    """Return the lines about faults of journals, and about labels of a method without use.

    Args:
        labels: The labels beside a dataset.
        method: The method whose labels are used; `human` for those of all people.
    """
    lines = list[str](labels.faults())
    for rater_method in labels.methods():
        if method not in (HUMAN, rater_method):
            continue
        fitted = labels.fitted(rater_method)
        if fitted.unusable:
            lines.append(f"labels of {rater_method}: {fitted.describe()}")
    return lines


def _warn_of_unused(lines: Sequence[str]) -> None:
    for line in lines:
        # The line of the caller of `score` or `export`.
        warnings.warn(visible(line), UnusedLabelWarning, stacklevel=3)


def _run(
    run_file: str | Path | RunTables,
    overrides: Sequence[str],
    options: RunOptions,
    *,
    makes_traces: bool,
) -> RunSummary:
    settings, name, code_folder = _settings(run_file, overrides)
    job = prepare(
        settings, options, run_file=name, makes_traces=makes_traces, code_folder=code_folder
    )
    rows = _run_to_end(run_without_server(job, makes_traces=makes_traces))
    return RunSummary(
        dataset=OpenDataset(settings.dataset),
        counts={row["what"]: row["count"] for row in rows},
        stopped=job.meter.stopped,
    )


def _settings(
    run_file: str | Path | RunTables, overrides: Sequence[str]
) -> tuple[RunFile, str, Path | None]:
    """Return the settings, their name in messages, and the folder of plugin files."""
    if not isinstance(run_file, Mapping):
        path = Path(run_file)
        return load(path, overrides), str(path), code_folder_of(path)
    if overrides:
        raise ConfigError("overrides are for run files: change the dictionary instead")
    settings = parse(with_date(dict(run_file), date.today(), IN_CODE), IN_CODE)
    return settings, IN_CODE, Path.cwd()


def _uri(dataset: str | OpenDataset) -> str:
    return dataset.uri if isinstance(dataset, OpenDataset) else dataset


def _run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where the event loop of a notebook is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _run_in_thread(work)


def _run_in_thread(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in the event loop of another thread; Ctrl-C cancels it, and waits for it."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def start() -> Result:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs as a task"
        started.set_result((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(asyncio.run, start())
        try:
            return result.result()
        except KeyboardInterrupt:
            loop, task = started.result()
            loop.call_soon_threadsafe(task.cancel)
            raise
