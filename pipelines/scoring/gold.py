"""The ground truth of a score: the annotations of a method, or a file that people filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.scoring.people import agreed_first_errors, labels_of_people, rater_first_errors
from problems.tabular.columns import UnusableError, number_or_text_at, require_columns
from problems.tabular.readers import Row, expand, read
from stepmark.errors import ConfigError, InputError
from stepmark.records import NO_ERROR, Rejected
from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN, TRACES, is_human, is_method
from storage.labelling.homes import JOURNALS, SOURCE
from storage.labelling.side_labels import SideLabels
from storage.queries.render import values
from storage.queries.sql import query

__all__ = ["first_errors"]

OF_METHOD = """
SELECT trace_id, first_error FROM annotations
WHERE method = '{method}' AND first_error IS NOT NULL
"""
COLUMNS = ("trace_id", "first_error")


def first_errors(
    dataset: Dataset, gold: str, side_labels: SideLabels | None = None
) -> tuple[Mapping[str, int], Sequence[Rejected]]:
    """Return the gold first errors.

    Args:
        dataset: The dataset whose traces are scored.
        gold: The name of a method, or a .jsonl, .parquet, .csv or .json file with the columns
            `trace_id` and `first_error`. `human` stands for the labels of all people: adjudicated
            ones, then those of the method `human`, then those on which all raters agree.
        side_labels: Labels of people beside the dataset; None for those in the dataset only.

    Returns:
        The index of the first error by trace id, -1 for no error, of the traces that have a gold
        label; and the rejected rows of the file.

    Raises:
        ConfigError: The dataset has no annotations of the method, or the side labels have none, or
            they decide nothing.
        DatasetError: The journal of a rater whose labels count cannot be read.
        InputError: The file cannot be read, or names no trace of the dataset.
    """
    dataset.require()
    methods = dataset.methods("annotations")
    if side_labels is not None:
        methods = tuple(sorted({*methods, *side_labels.methods()}))
        # Without the labels of a rater, a disagreement between people would count as agreement.
        for method in side_labels.methods() if gold == HUMAN else (gold,):
            side_labels.require(method)
    if gold in methods or (gold == HUMAN and any(map(is_human, methods))):
        first_errors_of_traces = _of_method(dataset, gold, side_labels)
        if not first_errors_of_traces:
            raise ConfigError(
                f"{dataset.uri}: '{gold}' decides the first error of no trace, so that there is"
                " nothing to score against"
            )
        return first_errors_of_traces, ()
    if is_method(gold):
        available = ", ".join(methods) or "none"
        raise ConfigError(
            f"{dataset.uri} has no annotations of '{gold}' to score against; it has: {available}"
        )
    return _read_files(dataset, gold)


def _of_method(dataset: Dataset, method: str, side_labels: SideLabels | None) -> Mapping[str, int]:
    """Return the first errors that a method of the dataset, or all people, have decided."""
    if method == HUMAN:
        return agreed_first_errors(labels_of_people(dataset, side_labels))
    if is_human(method):
        return rater_first_errors(labels_of_people(dataset, side_labels, method), method)
    # The name is one of the dataset's methods, so it is safe to insert into the query.
    return dict(values(query(dataset, OF_METHOD.format(method=method))))


def _read_files(dataset: Dataset, pattern: str) -> tuple[Mapping[str, int], Sequence[Rejected]]:
    lengths = query(dataset, "SELECT trace_id, len(steps) FROM traces")
    step_counts: dict[str, int] = dict(values(lengths))
    gold = dict[str, int]()
    rejected = list[Rejected]()
    for file in expand([pattern]):
        _check_is_no_side_label(Path(file))
        for row in require_columns(read(Path(file)), [[column] for column in COLUMNS]):
            if isinstance(row, Rejected):
                rejected.append(row)
                continue
            try:
                trace_id, first_error = _parse_row(row, step_counts, gold)
                gold[trace_id] = first_error
            except UnusableError as error:
                rejected.append(error.rejected(row))
    if not gold:
        example = ""
        if rejected:
            first = rejected[0]
            example = f"; row {first.row}, field '{first.field}': {first.reason}"
        raise InputError(f"{pattern} names the first error of no trace of {dataset.uri}{example}")
    return gold, rejected


def _check_is_no_side_label(file: Path) -> None:
    """Check that a file is no part of labels beside a dataset, which can have other steps.

    Raises:
        ConfigError: It is one.
    """
    method = file.parent.name
    # FOLDER/annotations/METHOD/part-00000.parquet
    folder = file.parent.parent.parent
    is_journaled = Path(folder, JOURNALS, f"{method}.jsonl").exists()
    if Path(folder, SOURCE).exists() or (is_journaled and not Path(folder, TRACES.folder).exists()):
        raise ConfigError(
            f"{file} has labels by hand, and traces can have other steps by now: use --gold"
            f" {method} --side-labels {folder}"
        )


def _parse_row(
    row: Row, step_counts: Mapping[str, int], gold: Mapping[str, int]
) -> tuple[str, int]:
    """Return the trace id and the first error of a row.

    Args:
        row: A row of the file.
        step_counts: The number of steps of every trace of the dataset.
        gold: The first errors of earlier rows.

    Raises:
        UnusableError: The trace is unknown or repeated, or has no step with that index.
    """
    trace_id = number_or_text_at(row.value, "trace_id") or ""
    index = number_or_text_at(row.value, "first_error") or ""
    if trace_id not in step_counts:
        raise UnusableError("trace_id", "no trace of this dataset")
    steps = row.value.get("steps")
    if isinstance(steps, list | tuple) and len(steps) != step_counts[trace_id]:
        reason = f"{len(steps)} steps, but the trace has {step_counts[trace_id]}"
        raise UnusableError("steps", reason)
    if trace_id in gold:
        raise UnusableError("trace_id", "the same trace as in an earlier row")
    valid = [str(number) for number in range(NO_ERROR, step_counts[trace_id])]
    # "2.0" is accepted for 2: a column with missing values is often stored as floats.
    number = index.removesuffix(".0")
    # Compared as text, because `int` would also accept digits of other scripts.
    if number not in valid:
        raise UnusableError(
            "first_error",
            f"not the index of one of the {step_counts[trace_id]} steps, from 0, "
            f"or {NO_ERROR} for none",
        )
    return trace_id, int(number)
