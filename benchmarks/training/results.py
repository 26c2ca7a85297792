"""Results of the training benchmark: tables for the documentation, and JSON."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.common.targets import Interval
from benchmarks.training.measures import Comparison

__all__ = ["Result", "header", "row", "to_json"]

COLUMNS = ("labels by", "tokens", "traces", "rows", "exact", "step AUC", "F1", "best of 8")
NO_CELL = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The measures of one method."""

    labels: Mapping[str, Any] | None = None
    """The fields of `Labels`, with the number of rows; None for a method without labels."""
    auc: Comparison | None = None
    f1: Comparison | None = None
    best: Comparison
    f1_of_seeds: Sequence[float] = field(default=())
    """F1 of trainings with other seeds."""


def header(reference: str) -> Sequence[str]:
    """Return the names of the columns of `row`."""
    return [*COLUMNS, "F1 of other seeds", f"F1 beyond {reference}"]


def row(name: str, results: Mapping[str, Result], reference: str) -> Sequence[str]:
    """Return the cells of a result; the last one is the paired difference to the reference."""
    result = results[name]
    costs = [NO_CELL] * 4
    if result.labels is not None:
        exact = result.labels["exact"]
        costs = [
            f"{result.labels['tokens']:,}",
            f"{result.labels['traces']:,}",
            f"{result.labels['rows']:,}",
            NO_CELL if exact is None else f"{exact:.1%}",
        ]
    beyond = NO_CELL
    compared = results.get(reference)
    if name != reference and result.labels and compared and result.f1 and compared.f1:
        beyond = _format(result.f1.minus(compared.f1), sign="+")
    measured = [_format_measure(item) for item in (result.auc, result.f1, result.best)]
    seeds = ", ".join(f"{value:.3f}" for value in result.f1_of_seeds)
    return [name, *costs, *measured, seeds, beyond]


def _format_measure(measure: Comparison | None) -> str:
    return NO_CELL if measure is None else _format(measure.interval)


def _format(interval: Interval, sign: str = "") -> str:
    low = f"{interval.low:{sign}.3f}"
    high = f"{interval.high:{sign}.3f}"
    return f"{interval.value:{sign}.3f} [{low}, {high}]"


def to_json(results: Mapping[str, Result]) -> Mapping[str, Any]:
    """Return the results with their intervals, by name."""
    dumped = dict[str, Any]()
    for name, result in results.items():
        fields: dict[str, Any] = {"labels": result.labels, "f1_of_seeds": result.f1_of_seeds}
        for measure in ("auc", "f1", "best"):
            comparison: Comparison | None = getattr(result, measure)
            fields[measure] = None
            if comparison is not None:
                fields[measure] = dataclasses.asdict(comparison.interval)
        dumped[name] = fields
    return dumped
