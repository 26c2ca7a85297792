"""Finished labels become annotations: what a journal has and the dataset lacks is written.

An annotation replaces only what its rater has replaced: the label that the dataset had when it was
finished, or an earlier one of the same journal. If another command has written a label since, that
one is newer, and stays. If the trace has other steps by now, the label becomes a stale label, which
the next run carries over where that is exact (`pipelines.run.human_labels`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from stepmark.identity import digest
from stepmark.records import Annotation, StaleLabel
from storage.dataset.dataset import Dataset
from storage.dataset.tables import STALE_LABELS, annotations
from storage.labelling.current_steps import locate_steps
from storage.labelling.drafts import label_of
from storage.labelling.events import Event, Kind
from storage.labelling.human_parts import add_labels, read_labels
from storage.labelling.journal import Journal

__all__ = [
    "NEWER_LABEL",
    "add_stale_labels",
    "finished_annotation",
    "replaceable_labels",
    "stale_label",
    "store",
]

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
        traces = locate_steps(source, shards)
        stale_labels = dict[int, list[StaleLabel]]()
        for trace_id, event in pending.items():
            located = traces.get(trace_id)
            if located is None or located.steps != event.step_texts:
                annotation = finished_annotation(method, journal, event)
                label = stale_label(annotation, event, OTHER_STEPS)
                stale_labels.setdefault(event.shard, []).append(label)
                results[event.event_id] = STALE_LABEL
                del shards[trace_id]
            else:
                shards[trace_id] = located.shard
        for shard, labels in stale_labels.items():
            add_stale_labels(home, shard, labels)
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


def replaceable_labels(journal: Journal, trace_id: str) -> frozenset[str]:
    """Return the fingerprints of the labels that the newest label of a trace can replace.

    They are all labels in the journal, and those that their rater saw in the dataset. A rater who
    corrects a label replaces what the corrected label replaced, too.
    """
    fingerprints = set[str]()
    adopted = set[str]()
    for event in journal.events(trace_id):
        if event.kind is Kind.ADOPT:
            # "" is the fingerprint of labels that another tool has written without one.
            adopted.add(event.replaces)
        elif event.kind is Kind.FINISH:
            fingerprints.update(adopted)
            fingerprints.add(event.event_id)
            if event.replaces:
                fingerprints.add(event.replaces)
    return frozenset(fingerprints)


def _store_shard(
    home: Dataset, method: str, journal: Journal, shard: int, events: Sequence[Event]
) -> Mapping[str, str]:
    table = annotations(method)
    present = read_labels(home, table, shard)
    added = list[Annotation]()
    results = dict[str, str]()
    for event in events:
        existing = present.get(event.trace_id)
        replaceable = replaceable_labels(journal, event.trace_id)
        if existing is not None and existing.fingerprint not in replaceable:
            results[event.event_id] = NEWER_LABEL
            continue
        added.append(finished_annotation(method, journal, event))
        results[event.event_id] = ANNOTATION
    if added:
        add_labels(home, table, shard, added)
    return results


def stale_label(
    annotation: Annotation, finish: Event, reason: str, *, is_carried_over: bool = False
) -> StaleLabel:
    """Return a label with the steps that its rater saw, which the trace does not have.

    Args:
        annotation: The label on these steps.
        finish: The entry that finished it.
        reason: Why it is not the annotation of the trace.
        is_carried_over: Whether the annotation of the trace is made from it.
    """
    values = {item.name: getattr(annotation, item.name) for item in fields(Annotation)}
    return StaleLabel(
        **values,
        problem_id=finish.problem_id,
        reason=reason,
        is_carried_over=is_carried_over,
        step_texts=finish.step_texts,
    )


def add_stale_labels(home: Dataset, shard: int, added: Sequence[StaleLabel]) -> None:
    """Add labels to the stale labels of a shard, which the next run restores where that is exact.

    The caller must hold the writer lock.

    Raises:
        DatasetError: The part is damaged, or cannot be written.
    """
    rows = list[StaleLabel]()
    if shard in home.shards(STALE_LABELS):
        rows.extend(home.read_part(STALE_LABELS, shard))
    # A crash can have come between this part and the journal.
    present = {row.fingerprint for row in rows}
    rows.extend(label for label in added if label.fingerprint not in present)
    home.write_part(STALE_LABELS, shard, rows, PART_KEY)
