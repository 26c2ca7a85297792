"""Finished labels become annotations: what a journal has and the dataset lacks is written.

An annotation replaces only what its rater has replaced: the label that the dataset had when it was
finished, or an earlier one of the same journal. If another command has written a label since, that
one is newer, and stays. If the trace has other steps by now, the label becomes a stale label, which
the next run carries over where that is exact (`pipelines.run.human_labels`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from stepmark.identity import digest
from stepmark.records import Annotation, StaleLabel, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import STALE_LABELS, TRACES, Table, annotations, discovered
from storage.labelling.drafts import label_of
from storage.labelling.events import Event, Kind
from storage.labelling.human_parts import add_labels, read_labels
from storage.labelling.journal import Journal

__all__ = ["NEWER_LABEL", "finished_annotation", "store"]

ANNOTATION = "annotation"
STALE_LABEL = "stale label"
NEWER_LABEL = "a newer label stays"
OTHER_STEPS = "the trace has other steps than the rater saw"
# Any key that is not that of restored labels: the next run restores what it can.
PART_KEY = digest("stale labels", "by hand")


def store(home: Dataset, source: Dataset, method: str, journal: Journal) -> Mapping[str, str]:
    """Write the pending labels of a journal into a dataset whose writer lock is held.

    Args:
        home: The dataset that they are written into.
        source: The dataset with the traces. If it is another one, its traces are not read.
        method: The method of the rater.
        journal: The journal of the rater.

    Returns:
        What became of each label, by the id of the entry that finished it.

    Raises:
        DatasetError: A part is damaged, or cannot be written.
    """
    pending = journal.pending()
    shards = {trace_id: event.shard for trace_id, event in pending.items()}
    results = dict[str, str]()
    if home is source:
        traces = _locate(source, pending)
        stale_labels = list[StaleLabel]()
        for trace_id, event in pending.items():
            located = traces.get(trace_id)
            if located is None or located[1].steps != event.step_texts:
                stale_labels.append(_stale_label(method, journal, event))
                results[event.event_id] = STALE_LABEL
                del shards[trace_id]
            else:
                shards[trace_id] = located[0]
        _add_stale_labels(home, stale_labels, pending)
    by_shard = dict[int, list[Event]]()
    for trace_id, shard in shards.items():
        by_shard.setdefault(shard, []).append(pending[trace_id])
    for shard, events in by_shard.items():
        results.update(_store_shard(home, method, journal, shard, events))
    return results


def finished_annotation(method: str, journal: Journal, event: Event) -> Annotation:
    """Return the annotation of a label that an entry of kind FINISH has finished."""
    label = label_of(journal.events(event.trace_id), event.steps_id, len(event.step_texts))
    assert label.finished is not None, "the entry is in the journal"
    return label.finished.annotation(event.trace_id, method, event.event_id)


def _store_shard(
    home: Dataset, method: str, journal: Journal, shard: int, events: Sequence[Event]
) -> Mapping[str, str]:
    table = annotations(method)
    present = read_labels(home, table, shard)
    added = list[Annotation]()
    results = dict[str, str]()
    for event in events:
        existing = present.get(event.trace_id)
        replaceable = {event.replaces, *_finish_ids(journal, event.trace_id)}
        if existing is not None and existing.fingerprint not in replaceable:
            results[event.event_id] = NEWER_LABEL
            continue
        added.append(finished_annotation(method, journal, event))
        results[event.event_id] = ANNOTATION
    if added:
        add_labels(home, table, shard, added)
    return results


def _finish_ids(journal: Journal, trace_id: str) -> Iterator[str]:
    for event in journal.events(trace_id):
        if event.kind is Kind.FINISH:
            yield event.event_id


def _stale_label(method: str, journal: Journal, event: Event) -> StaleLabel:
    annotation = finished_annotation(method, journal, event)
    values = {item.name: getattr(annotation, item.name) for item in fields(Annotation)}
    return StaleLabel(
        **values,
        problem_id=event.problem_id,
        reason=OTHER_STEPS,
        is_carried_over=False,
        step_texts=event.step_texts,
    )


def _add_stale_labels(
    home: Dataset, added: Sequence[StaleLabel], pending: Mapping[str, Event]
) -> None:
    by_shard = dict[int, list[StaleLabel]]()
    for label in added:
        by_shard.setdefault(pending[label.trace_id].shard, []).append(label)
    for shard, labels in by_shard.items():
        rows = list[StaleLabel]()
        if shard in home.shards(STALE_LABELS):
            rows.extend(home.read_part(STALE_LABELS, shard))
        # A crash can have come between this part and the journal.
        present = {row.fingerprint for row in rows}
        rows.extend(label for label in labels if label.fingerprint not in present)
        home.write_part(STALE_LABELS, shard, rows, PART_KEY)


def _locate(source: Dataset, pending: Mapping[str, Event]) -> Mapping[str, tuple[int, Trace]]:
    """Return the shard and the record of each trace that the dataset has."""
    located = dict[str, tuple[int, Trace]]()
    tables: list[Table[Any]] = [TRACES, *map(discovered, source.methods("discovered"))]
    expected_shards = {event.shard for event in pending.values()}
    for is_expected in (True, False):
        for table in tables:
            for shard in source.shards(table):
                # A run can have moved a trace to another shard, but rarely has.
                missing = pending.keys() - located.keys()
                if missing and (shard in expected_shards) == is_expected:
                    for trace in source.matching_records(table, shard, "trace_id", missing):
                        located[trace.trace_id] = (shard, trace)
    return located
