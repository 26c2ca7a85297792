"""Labelled traces with their problems, joined shard by shard.

Shard i of every table belongs to the same problems, so memory holds one shard at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from stepmark.errors import ConfigError
from stepmark.records import (
    Annotation,
    Label,
    Problem,
    StepLabel,
    Trace,
    Verdict,
    has_missing_neutral_step,
    with_neutral_steps_as,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.formats.base import Example, LeftOut

__all__ = ["ExampleJoin", "Values"]


Values = Mapping[str, Sequence[float | None]]
"""One value per step, by trace id."""
_Evidence = Mapping[str, Mapping[str, Sequence[Any]]]
"""The rows of further tables, by the kind of table and by trace id."""


class _RatedLabel(NamedTuple):
    """A label, and the steps that its source rates as neutral."""

    label: Label
    neutral_steps: tuple[int, ...] = ()
    fault: str = ""
    """Why the label cannot be used; "" if it can."""


# The tables that a format can read, by the name of the field of an example.
_EVIDENCE_TABLES: Mapping[str, Callable[[str], Table[Any]]] = {
    "critiques": critiques,
    "rollouts": rollouts,
    "annotations": annotations,
}


@dataclass(frozen=True, kw_only=True)
class ExampleJoin:
    """The join of the traces of a dataset with their problems, labels and evidence.

    Args:
        dataset: The dataset.
        labels_by: A method whose annotations are used as labels. They are kept unless the method
            failed on the trace. "" for the labels of the dataset.
        side_labels: Labels of this method beside the dataset by trace id, which replace those in
            it; None for a trace that has no label by the method.
        neutral: The label of steps that the method rates as neutral.
        values: Replace the values of the labels.
        reads: The kinds of further tables whose rows are joined: "critiques", "rollouts" and
            "annotations".

    Raises:
        ConfigError: The dataset has no annotations by `labels_by`.
    """

    dataset: Dataset
    labels_by: str = ""
    side_labels: Mapping[str, Annotation | None] = field(default_factory=dict)
    neutral: Verdict = Verdict.CORRECT
    values: Values | None = None
    reads: Set[str] = frozenset()

    def __post_init__(self) -> None:
        methods = self.dataset.methods("annotations") if self.labels_by else ()
        if self.labels_by and self.labels_by not in methods and not self.side_labels:
            listing = ", ".join(methods) or "none"
            raise ConfigError(
                f"{self.dataset.uri} has no annotations of '{self.labels_by}' to export;"
                f" it has: {listing}"
            )

    @property
    def shards(self) -> Sequence[int]:
        """The shards that have traces."""
        return self.dataset.shards(TRACES)

    def examples(self) -> Iterator[Example | LeftOut]:
        """Yield the examples of all shards."""
        return chain.from_iterable(map(self.shard, self.shards))

    def shard(self, shard: int) -> Iterator[Example | LeftOut]:
        """Yield for each trace an example, or the reason why its problem or label is missing."""
        problems: dict[str, Problem] = {}
        for problem in self._rows([PROBLEMS], shard):
            problems[problem.problem_id] = problem
        labels = self._labels(shard)
        evidence = self._evidence(shard)
        # The sampled or imported traces, then the discovered ones by method.
        for trace in self._rows([TRACES, *self._discovered_tables], shard):
            label = self._rated_side_labels.get(trace.trace_id, labels.get(trace.trace_id))
            item = _joined(trace, problems.get(trace.problem_id), label)
            if isinstance(item, Example) and self.values is not None:
                item = _with_values(item, self.values)
            if isinstance(item, Example) and evidence:
                item = _with_evidence(item, evidence)
            yield item

    def _labels(self, shard: int) -> Mapping[str, _RatedLabel]:
        labels: dict[str, _RatedLabel] = {}
        if self.labels_by:
            for annotation in self._rows([annotations(self.labels_by)], shard):
                labels[annotation.trace_id] = _rated_label(annotation, self.neutral)
        else:
            for label in self._rows([LABELS], shard):
                labels[label.trace_id] = _RatedLabel(label)
        return labels

    def _evidence(self, shard: int) -> _Evidence:
        evidence = dict[str, Mapping[str, Sequence[Any]]]()
        for kind, tables in self._evidence_tables.items():
            by_trace = defaultdict[str, list[Any]](list)
            for row in self._rows(tables, shard):
                by_trace[row.trace_id].append(row)
            evidence[kind] = by_trace
        return evidence

    def _rows(self, tables: Sequence[Table[Any]], shard: int) -> Iterator[Any]:
        """Yield the rows of a shard; a table without a part of the shard has none."""
        for table in tables:
            if shard in self._shards_by_table[table]:
                yield from self.dataset.read_part(table, shard)

    @cached_property
    def _rated_side_labels(self) -> Mapping[str, _RatedLabel | None]:
        rated = dict[str, _RatedLabel | None]()
        for trace_id, annotation in self.side_labels.items():
            rated[trace_id] = None if annotation is None else _rated_label(annotation, self.neutral)
        return rated

    @cached_property
    def _discovered_tables(self) -> Sequence[Table[Any]]:
        return [discovered(method) for method in self.dataset.methods("discovered")]

    @cached_property
    def _evidence_tables(self) -> Mapping[str, Sequence[Table[Any]]]:
        tables = dict[str, Sequence[Table[Any]]]()
        for kind in self.reads:
            table_of = _EVIDENCE_TABLES[kind]
            tables[kind] = [table_of(method) for method in self.dataset.methods(kind)]
        return tables

    @cached_property
    def _shards_by_table(self) -> Mapping[Table[Any], Set[int]]:
        """Return the shards that a table has: listing them takes a request for each table."""
        tables: list[Table[Any]] = [PROBLEMS, TRACES, LABELS, *self._discovered_tables]
        if self.labels_by:
            tables.append(annotations(self.labels_by))
        for evidence_tables in self._evidence_tables.values():
            tables.extend(evidence_tables)
        return {table: frozenset(self.dataset.shards(table)) for table in tables}


def _with_values(example: Example, values: Values) -> Example:
    step_labels = example.label.steps
    # A trace without steps has no row in a formula.
    step_values = values.get(example.trace.trace_id, [None] * len(step_labels))
    steps = tuple(
        replace(step, value=value) for step, value in zip(step_labels, step_values, strict=True)
    )
    return replace(example, label=replace(example.label, steps=steps))


def _with_evidence(example: Example, evidence: _Evidence) -> Example:
    rows = dict[str, Any]()
    for kind, by_trace in evidence.items():
        rows[kind] = by_trace.get(example.trace.trace_id, ())
    return replace(example, **rows)


def _rated_label(annotation: Annotation, neutral: Verdict) -> _RatedLabel:
    if has_missing_neutral_step(annotation):
        fault = "a neutral step of its label does not exist"
        return _RatedLabel(_label_of(annotation), fault=fault)
    label = _label_of(with_neutral_steps_as(annotation, neutral))
    return _RatedLabel(label, annotation.neutral_steps)


def _label_of(annotation: Annotation) -> Label:
    """Return the label that has the verdicts and values of an annotation."""
    steps = [StepLabel(label=step.verdict, value=step.value) for step in annotation.steps]
    return Label(
        trace_id=annotation.trace_id,
        first_error=annotation.first_error,
        steps=tuple(steps),
        confidence=annotation.confidence,
        kept=annotation.error is None,
        reason=f"annotation of {annotation.method}",
        sources=(annotation.method,),
        fingerprint=annotation.fingerprint,
    )


def _joined(trace: Trace, problem: Problem | None, rated: _RatedLabel | None) -> Example | LeftOut:
    if problem is None:
        return LeftOut("its problem is missing")
    if rated is None:
        return LeftOut("it has no label")
    if len(rated.label.steps) != len(trace.steps):
        return LeftOut("its label is of another number of steps")
    if rated.fault:
        return LeftOut(rated.fault)
    return Example(
        problem=problem, trace=trace, label=rated.label, neutral_steps=rated.neutral_steps
    )
