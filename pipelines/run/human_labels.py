"""Labels made by people, kept when traces are replaced or cut into other steps.

A human label belongs to a trace and to the text of its steps. Before a trace is replaced or cut
into other steps, its labels are set aside: they move to the table `stale_labels`, with the steps
that the person saw. At the end of the run, labels whose trace exists are restored. If the trace has
other steps, the label is carried over by character position where that is exact; the original stays
in `stale_labels`, so that it is restored unchanged when the steps are cut as before.

The annotations of a person therefore fit the traces at every moment, also after a kill: a label is
written to one table before it leaves the other. No human label is ever dropped.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipelines.run.run_context import RunContext
from stepmark.identity import digest
from stepmark.records import Annotation, StaleLabel, Trace
from storage.dataset.dataset import DamagedPartError, Dataset
from storage.dataset.tables import (
    STALE_LABELS,
    TRACES,
    Table,
    annotations,
    discovered,
    is_human,
)
from storage.labelling.carry_over import CARRIED_OVER, GONE, carry_over

__all__ = [
    "restore_stale_labels",
    "set_aside_human_labels",
    "set_aside_labels_of_other_shards",
]

OTHER_LABEL = "the trace has another label by the same person"

# The part key of stale labels that the run has yet to restore.
UNFINISHED = digest("stale labels", "unfinished")

Key = tuple[str, str]
"""The method of a label and the id of its trace."""


def set_aside_human_labels(
    run: RunContext, shard: int, replaced: Mapping[Table[Any], Sequence[Trace]] | None
) -> None:
    """Set aside the human labels of a shard whose traces are about to change or to be removed.

    Call it before the traces are written.

    Args:
        run: The run.
        shard: The shard.
        replaced: For each table of traces that is about to be replaced, its new rows; no rows if it
            is removed. The other tables stay as they are. None if all parts of the shard are about
            to be removed, those of the labels included.
    """
    with run.human_labels_lock:
        tables = list[Table[Annotation]]()
        for table in _human_tables(run.dataset):
            if shard in run.dataset.shards(table):
                tables.append(table)
        if not tables:
            return
        before = dict[str, Trace]()
        after = dict[str, Trace]()
        for trace_table in _trace_tables(run.dataset):
            traces = _read_traces(run.dataset, trace_table, shard)
            before.update(_by_id(traces))
            if replaced is not None and trace_table not in replaced:
                after.update(_by_id(traces))
        for traces in (replaced or {}).values():
            after.update(_by_id(traces))
        for table in tables:
            _set_aside(run.dataset, table, shard, before, None if replaced is None else after)


def set_aside_labels_of_other_shards(run: RunContext, shards: Collection[int]) -> None:
    """Set aside the human labels of all shards but these, before their parts are removed."""
    other_shards = set[int]()
    for table in _human_tables(run.dataset):
        other_shards.update(run.dataset.shards(table))
    other_shards.difference_update(shards)
    for shard in sorted(other_shards):
        set_aside_human_labels(run, shard, None)


def restore_stale_labels(run: RunContext) -> None:
    """Restore the stale labels whose traces exist, in any shard, with steps that they fit.

    A label that the dataset contains is not replaced by a stale one. Of several stale labels by one
    person for a trace, the newest one that fits is restored. Nothing is done if neither traces nor
    human labels have changed since the last call.
    """
    with run.human_labels_lock:
        shards = run.dataset.shards(STALE_LABELS)
        part_key = _restored_part_key(run.dataset) if shards else ""
        if all(run.dataset.has_part(STALE_LABELS, shard, part_key) for shard in shards):
            return
        stale = {shard: list(_read(run.dataset, STALE_LABELS, shard)) for shard in shards}
        restoration = _plan_restoration(run.dataset, stale)
        # Each stale label is written to the shard of its trace before the annotation that is made
        # from it is. If the run is killed in between, `_original` finds the label there.
        for shard, rows in restoration.stale.items():
            moved = _without(stale.get(shard, []), rows)
            _write_stale(run.dataset, shard, [*moved, *rows], UNFINISHED)
        for (method, shard), labels in restoration.labels.items():
            _add_labels(run.dataset, annotations(method), shard, labels)
        part_key = _restored_part_key(run.dataset)
        for shard in stale.keys() | restoration.stale.keys():
            remaining = _without(restoration.stale.get(shard, []), restoration.unchanged)
            _write_stale(run.dataset, shard, remaining, part_key)


@dataclass(kw_only=True)
class _Restoration:
    """What `restore_stale_labels` writes."""

    stale: dict[int, list[StaleLabel]] = field(default_factory=dict)
    """The stale labels by shard, each in the shard of its trace if there is one."""
    labels: dict[tuple[str, int], list[Annotation]] = field(default_factory=dict)
    """The annotations to add, by method and shard."""
    unchanged: set[StaleLabel] = field(default_factory=set)
    """The stale labels whose trace has the steps that they were made on: they are removed."""


def _plan_restoration(dataset: Dataset, stale: Mapping[int, Sequence[StaleLabel]]) -> _Restoration:
    """Return what to write, from the stale labels of all shards."""
    # The stale labels of a person for a trace, in the order in which they were made, each with the
    # shard that contains it. A label that a killed run left in two shards occurs once.
    labels_by_key = dict[Key, dict[StaleLabel, int]]()
    for shard, rows in sorted(stale.items()):
        for row in rows:
            shards_of_labels = labels_by_key.setdefault((row.method, row.trace_id), {})
            shards_of_labels[_pending(row)] = shard
    traces = _locate_traces(dataset, {trace_id for _, trace_id in labels_by_key})
    present = _present_labels(dataset, labels_by_key)
    restoration = _Restoration()
    for key, shards_of_labels in labels_by_key.items():
        method, trace_id = key
        if trace_id not in traces:
            for row, shard in shards_of_labels.items():
                restoration.stale.setdefault(shard, []).append(row)
            continue
        shard, trace = traces[trace_id]
        used, label = _choose(list(shards_of_labels), trace.steps, present.get(key))
        for row in shards_of_labels:
            result = _fit(row, trace.steps)
            reason = result if isinstance(result, str) else OTHER_LABEL
            if row == used:
                reason = CARRIED_OVER
                # With several labels of the trace it stays, so that their order is not lost.
                if row.step_texts == trace.steps and len(shards_of_labels) == 1:
                    restoration.unchanged.add(row)
            updated = replace(row, reason=reason, is_carried_over=row == used)
            restoration.stale.setdefault(shard, []).append(updated)
        if label is not None and key not in present:
            restoration.labels.setdefault((method, shard), []).append(label)
    return restoration


def _choose(
    rows: Sequence[StaleLabel], steps: Sequence[str], present: Annotation | None
) -> tuple[StaleLabel | None, Annotation | None]:
    """Return the annotation of a trace by one person, and the stale label that it is made from.

    Args:
        rows: The stale labels of the person for the trace, the newest last.
        steps: The steps of the trace.
        present: The annotation by the person that the dataset contains, which is never replaced.

    Returns:
        The stale label and the annotation. The label is None if none fits the steps, or if the
        annotation in the dataset was not made from one, because the person has labelled the trace
        again. The annotation is None if there is neither.
    """
    for row in reversed(rows):
        label = _fit(row, steps)
        if isinstance(label, Annotation) and present in (None, label):
            return row, label
    return None, present


def _set_aside(
    dataset: Dataset,
    table: Table[Annotation],
    shard: int,
    before: Mapping[str, Trace],
    after: Mapping[str, Trace] | None,
) -> None:
    """Move labels from a table of annotations to the stale labels.

    Those of changed traces are moved, or all labels if no trace remains (`after` is None).
    """
    stale_rows = list(_read(dataset, STALE_LABELS, shard))
    remaining = list[Annotation]()
    changed = list[StaleLabel]()
    for label in _read(dataset, table, shard):
        trace = before.get(label.trace_id)
        if after is not None and _is_unchanged(label, trace, after.get(label.trace_id)):
            remaining.append(label)
        else:
            changed.append(_original(label, trace, stale_rows))
    if not changed:
        return
    # New rows come last, and a label keeps its position when it is set aside again, so the labels
    # of one person for a trace are in the order in which they were made.
    new_rows = _without(changed, stale_rows)
    _write_stale(dataset, shard, [*stale_rows, *new_rows], UNFINISHED)
    footer = dataset.footer(table, shard)
    assert footer is not None, "the part was read"
    dataset.write_part(table, shard, remaining, footer.part_key)


def _is_unchanged(label: Annotation, before: Trace | None, after: Trace | None) -> bool:
    """Return whether the trace of a label stays, with the same steps."""
    if before is not None:
        return after is not None and after.steps == before.steps
    # The part of the traces was lost. It usually comes back with the same steps; their number is
    # all that the label contains of them.
    return after is None or len(after.steps) == len(label.steps)


def _original(
    label: Annotation, trace: Trace | None, stale_rows: Sequence[StaleLabel]
) -> StaleLabel:
    """Return a label as the person made it: the stale label from which it was carried over."""
    if trace is not None:
        for row in reversed(stale_rows):
            is_same_key = (row.method, row.trace_id) == (label.method, label.trace_id)
            if is_same_key and _fit(row, trace.steps) == label:
                return _pending(row)
    values = {item.name: getattr(label, item.name) for item in fields(Annotation)}
    return StaleLabel(
        **values,
        problem_id=trace.problem_id if trace is not None else "",
        reason=GONE,
        is_carried_over=False,
        step_texts=trace.steps if trace is not None else (),
    )


def _fit(row: StaleLabel, steps: Sequence[str]) -> Annotation | str:
    """Return a stale label as an annotation of these steps, or the reason why it is none."""
    values = {item.name: getattr(row, item.name) for item in fields(Annotation)}
    return carry_over(Annotation(**values), row.step_texts, steps)


def _pending(row: StaleLabel) -> StaleLabel:
    """Return a stale label without its state, so that equal labels are equal."""
    return replace(row, reason=GONE, is_carried_over=False)


def _without(rows: Iterable[StaleLabel], excluded: Iterable[StaleLabel]) -> list[StaleLabel]:
    """Return the stale labels that are not among others; their state is not compared."""
    excluded_set = set(map(_pending, excluded))
    return [row for row in rows if _pending(row) not in excluded_set]


def _locate_traces(dataset: Dataset, trace_ids: Collection[str]) -> Mapping[str, tuple[int, Trace]]:
    """Return the traces of these ids that the dataset has, each with its shard."""
    located = dict[str, tuple[int, Trace]]()
    for table in _trace_tables(dataset):
        for shard in dataset.shards(table):
            if not _contains_any(dataset, table, shard, trace_ids):
                continue
            for trace in _read_traces(dataset, table, shard):
                if trace.trace_id in trace_ids:
                    located[trace.trace_id] = (shard, trace)
    return located


def _contains_any(
    dataset: Dataset, table: Table[Any], shard: int, trace_ids: Collection[str]
) -> bool:
    """Return whether a part has one of the traces; only one column is read."""
    try:
        column = dataset.column(table, shard, "trace_id")
    except DamagedPartError:
        return False
    return not set(column).isdisjoint(trace_ids)


def _present_labels(dataset: Dataset, keys: Collection[Key]) -> Mapping[Key, Annotation]:
    """Return the human annotations that the dataset has for these methods and traces."""
    labels = dict[Key, Annotation]()
    for table in _human_tables(dataset):
        for label in dataset.read(table):
            if (label.method, label.trace_id) in keys:
                labels[label.method, label.trace_id] = label
    return labels


def _add_labels(
    dataset: Dataset, table: Table[Annotation], shard: int, labels: Sequence[Annotation]
) -> None:
    rows = [*_read(dataset, table, shard), *labels]
    footer = dataset.footer(table, shard)
    part_key = footer.part_key if footer is not None else digest("human labels")
    dataset.write_part(table, shard, rows, part_key)


def _write_stale(dataset: Dataset, shard: int, rows: Sequence[StaleLabel], part_key: str) -> None:
    if rows:
        dataset.write_part(STALE_LABELS, shard, rows, part_key)
    else:
        dataset.remove_part(STALE_LABELS, shard)


def _restored_part_key(dataset: Dataset) -> str:
    """Return a digest of all traces and human labels, from which stale labels are restored."""
    contents = list[tuple[str, int, str]]()
    for table in (*_trace_tables(dataset), *_human_tables(dataset)):
        for shard in dataset.shards(table):
            footer = dataset.footer(table, shard)
            if footer is not None:
                contents.append((table.folder, shard, footer.content))
    return digest("stale labels", contents)


def _trace_tables(dataset: Dataset) -> Sequence[Table[Any]]:
    """Return the tables of the sampled and of all discovered traces."""
    return [TRACES, *map(discovered, dataset.methods("discovered"))]


def _human_tables(dataset: Dataset) -> Sequence[Table[Annotation]]:
    methods = dataset.methods("annotations")
    return [annotations(method) for method in methods if is_human(method)]


def _read(dataset: Dataset, table: Table[Any], shard: int) -> Iterator[Any]:
    """Yield the rows of a part, if it exists.

    Raises:
        DatasetError: The part is damaged. It must not be replaced, as if it had no labels.
    """
    if shard in dataset.shards(table):
        yield from dataset.read_part(table, shard)


def _read_traces(dataset: Dataset, table: Table[Any], shard: int) -> Sequence[Trace]:
    """Return the traces of a part; none if it is missing or damaged, since it is made again."""
    try:
        return list(_read(dataset, table, shard))
    except DamagedPartError:
        return []


def _by_id(traces: Iterable[Trace]) -> Mapping[str, Trace]:
    return {trace.trace_id: trace for trace in traces}
