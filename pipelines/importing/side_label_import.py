"""`stepmark import --shape side_labels`: labels by hand beside a dataset become annotations in it.

A label whose trace has other steps by now is carried over where that is exact; the original is
stored in `stale_labels`, as a run does it, so that it comes back with its steps. A label that the
dataset has from elsewhere stays: which one is newer is not known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stepmark.errors import InputError
from stepmark.records import Annotation, StaleLabel
from storage.dataset.dataset import Dataset
from storage.dataset.readme import write_readme
from storage.dataset.tables import STALE_LABELS, annotations
from storage.labelling.carry_over import CARRIED_OVER, UNKNOWN_STEPS
from storage.labelling.human_parts import add_labels, read_labels
from storage.labelling.side_labels import FittedLabel, SideLabels, open_side_labels
from storage.labelling.storing import add_stale_labels, stale_label

__all__ = ["SIDE_LABELS", "SideLabelImport", "import_side_labels"]

SIDE_LABELS = "side_labels"
OTHER_LABEL = "the dataset has another label by the same person"


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLabelImport:
    """The result of an import, counted."""

    labelled: Mapping[str, int]
    """The labels that the dataset has now, by method."""
    carried_over: int
    """How many of them are for other steps than the rater saw."""
    unused: Mapping[str, int]
    """The labels that are not used, by reason."""
    faults: Sequence[str]
    """What is wrong with the journals: each as a line of text."""


@dataclass(slots=True)
class _Additions:
    """What is written to one shard."""

    labels: dict[str, list[Annotation]] = field(default_factory=dict)
    """By method."""
    stale_labels: list[StaleLabel] = field(default_factory=list)


def import_side_labels(folder: str, uri: str) -> SideLabelImport:
    """Add the labels in a folder of `stepmark view --labels` to a dataset.

    A second import adds only what is new. The folder is not changed.

    Args:
        folder: The folder.
        uri: The dataset that is written into: the one that was labelled, or a copy of it.

    Raises:
        ConfigError: The folder has no labels.
        InputError: No label is of a trace of the dataset.
        DatasetError: The dataset is missing, busy or damaged.
    """
    dataset = Dataset(uri)
    dataset.require()
    side_labels = open_side_labels(folder, dataset)
    with dataset.writer_lock():
        methods = dataset.methods("annotations")
        result, additions = _plan(dataset, side_labels)
        if not result.labelled and all(not added.stale_labels for added in additions.values()):
            unused = [f"{count} × {reason}" for reason, count in result.unused.items()]
            reasons = ", ".join([*result.faults, *unused])
            raise InputError(f"no label to import in {folder}, nothing was changed; {reasons}")
        for shard, added in additions.items():
            # A stale label is there before the annotation that is made from it, as in a run.
            if added.stale_labels:
                add_stale_labels(dataset, shard, added.stale_labels)
            for method, labels in added.labels.items():
                add_labels(dataset, annotations(method), shard, labels)
        if dataset.methods("annotations") != methods:
            write_readme(dataset)
    return result


def _plan(
    dataset: Dataset, side_labels: SideLabels
) -> tuple[SideLabelImport, Mapping[int, _Additions]]:
    """Return what an import would do, and what it would write by shard."""
    labelled = Counter[str]()
    unused = Counter[str]()
    carried_over = 0
    additions = dict[int, _Additions]()
    stale = {row.fingerprint for row in dataset.read(STALE_LABELS)}
    for method in side_labels.methods():
        fitted = side_labels.fitted(method)
        unused.update(fitted.unusable.values())
        present = _present_labels(dataset, method)
        for label in fitted.labels:
            # Such a label has no shard, or no steps with which it could come back.
            if label.located is None or label.fitted == UNKNOWN_STEPS:
                continue
            existing = present.get(label.finish.trace_id)
            if existing is not None and existing.fingerprint not in side_labels.replaceable(label):
                if isinstance(label.fitted, Annotation):
                    unused[OTHER_LABEL] += 1
                continue
            added = additions.setdefault(label.located.shard, _Additions())
            if label.annotation.fingerprint not in stale:
                added.stale_labels.extend(_original(label))
            if isinstance(label.fitted, Annotation):
                labelled[method] += 1
                carried_over += label.is_carried_over
                if existing != label.fitted:
                    added.labels.setdefault(method, []).append(label.fitted)
    result = SideLabelImport(
        labelled=dict(labelled),
        carried_over=carried_over,
        unused=dict(unused.most_common()),
        faults=side_labels.faults(),
    )
    return result, additions


def _present_labels(dataset: Dataset, method: str) -> Mapping[str, Annotation]:
    labels = dict[str, Annotation]()
    for shard in dataset.shards(annotations(method)):
        labels.update(read_labels(dataset, annotations(method), shard))
    return labels


def _original(label: FittedLabel) -> list[StaleLabel]:
    """Return the stale label of a label on other steps; none if the trace has its steps."""
    if isinstance(label.fitted, str):
        return [stale_label(label.annotation, label.finish, label.fitted)]
    if not label.is_carried_over:
        return []
    return [stale_label(label.annotation, label.finish, CARRIED_OVER, is_carried_over=True)]
