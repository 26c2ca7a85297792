"""The truth to score against: the annotations of a method (`oracle`, `human`), or a file that people filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from problems.tabular.columns import UnusableError, number_or_text_at, with_columns
from problems.tabular.readers import Row, expand, read
from stepmark.errors import ConfigError, InputError
from stepmark.records import NO_ERROR, Rejected
from storage.dataset.dataset import Dataset
from storage.dataset.tables import is_method
from storage.queries.render import values
from storage.queries.sql import query

__all__ = ["first_errors"]

OF_METHOD = "SELECT trace_id, first_error FROM annotations WHERE method = '{method}' AND first_error IS NOT NULL"
COLUMNS = ("trace_id", "first_error")


def first_errors(dataset: Dataset, gold: str) -> tuple[Mapping[str, int], Sequence[Rejected]]:
    """The gold first error of every trace that has one, -1 for none, and the rows of a file that were set aside.

    `gold` is a method's name, or a .jsonl, .parquet, .csv or .json file with the columns `trace_id` and `first_error`.
    """
    dataset.require()
    methods = dataset.methods("annotations")
    if gold in methods:
        return dict(values(query(dataset, OF_METHOD.format(method=gold)))), ()
    if is_method(gold):
        raise ConfigError(
            f"{dataset.uri} has no annotations of '{gold}' to score against; it has: {', '.join(methods) or 'none'}"
        )
    return _of_file(dataset, gold)


def _of_file(dataset: Dataset, path: str) -> tuple[Mapping[str, int], Sequence[Rejected]]:
    lengths: dict[str, int] = dict(
        values(query(dataset, "SELECT trace_id, len(steps) FROM traces"))
    )
    truth: dict[str, int] = {}
    aside: list[Rejected] = []
    for file in expand([path]):
        for row in with_columns(read(Path(file)), [[column] for column in COLUMNS]):
            if isinstance(row, Rejected):
                aside.append(row)
                continue
            try:
                truth.update([_row(row, lengths, truth)])
            except UnusableError as error:
                aside.append(error.rejected(row))
    if not truth:
        told = f"; row {aside[0].row}, field '{aside[0].field}': {aside[0].reason}" if aside else ""
        raise InputError(f"{path} names the first error of no trace of {dataset.uri}{told}")
    return truth, aside


def _row(row: Row, lengths: Mapping[str, int], seen: Mapping[str, int]) -> tuple[str, int]:
    trace_id, index = (number_or_text_at(row.value, column) or "" for column in COLUMNS)
    if trace_id not in lengths:
        raise UnusableError("trace_id", "no trace of this dataset")
    if trace_id in seen:
        raise UnusableError("trace_id", "the same trace as in an earlier row")
    places = [str(place) for place in range(NO_ERROR, lengths[trace_id])]
    number = index.removesuffix(".0")
    if number not in places:
        raise UnusableError(
            "first_error",
            f"not the index of one of the {lengths[trace_id]} steps, from 0, nor {NO_ERROR} for none",
        )
    return trace_id, int(number)
