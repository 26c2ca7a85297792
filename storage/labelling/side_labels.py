"""Labels that people made beside a dataset, on the steps that its traces have now.

No run changes such labels: a trace can have been cut into other steps since it was labelled. The
journal has the steps that the rater saw with each finished label. A label is carried over to other
steps as in a dataset (see `carry_over`), and is not used where that is not exact.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Annotation
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations, is_human
from storage.labelling.carry_over import GONE, UNKNOWN_STEPS, carry_over
from storage.labelling.current_steps import CurrentSteps, LocatedSteps
from storage.labelling.events import Event, steps_id_of
from storage.labelling.homes import journal_path, journals_of
from storage.labelling.journal import Journal
from storage.labelling.storing import finished_annotation, replaceable_labels

__all__ = ["FittedLabel", "FittedLabels", "SideLabels", "open_side_labels"]

Fingerprints = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FittedLabel:
    """A label that a rater finished, on the steps that the trace has now."""

    finish: Event
    """The entry that finished it, with the steps that the rater saw."""
    annotation: Annotation
    """The label on the steps that the rater saw."""
    located: LocatedSteps | None
    """The steps that the trace has now; None if the dataset has no such trace."""
    fitted: Annotation | str
    """The label on these steps, or the reason why it is not used."""

    @property
    def is_carried_over(self) -> bool:
        """Whether the label is used for other steps than the rater saw."""
        if isinstance(self.fitted, str) or self.located is None:
            return False
        return self.located.steps != self.finish.step_texts


@dataclass(frozen=True, kw_only=True)
class FittedLabels:
    """The newest labels of one rater."""

    labels: Sequence[FittedLabel]
    unknown: frozenset[str]
    """The traces with a label whose steps are in no journal."""

    @cached_property
    def usable(self) -> Mapping[str, Annotation]:
        """The labels that fit, by trace id."""
        usable = dict[str, Annotation]()
        for label in self.labels:
            if isinstance(label.fitted, Annotation):
                usable[label.finish.trace_id] = label.fitted
        return usable

    @cached_property
    def unusable(self) -> Mapping[str, str]:
        """By trace id, why a label is not used."""
        reasons = dict.fromkeys(sorted(self.unknown), UNKNOWN_STEPS)
        for label in self.labels:
            if isinstance(label.fitted, str):
                reasons[label.finish.trace_id] = label.fitted
        return reasons

    @property
    def by_trace(self) -> Mapping[str, Annotation | None]:
        """The labels that are used, and None for traces whose label is not."""
        return {**dict.fromkeys(self.unusable), **self.usable}

    def describe(self) -> str:
        """Return in one line how many labels are used, and why others are not."""
        text = f"{len(self.usable)} used"
        carried_over = sum(label.is_carried_over for label in self.labels)
        if carried_over:
            text += f" ({carried_over} carried over to other steps)"
        if self.unusable:
            reasons = Counter(self.unusable.values()).most_common()
            listing = ", ".join(f"{count} × {reason}" for reason, count in reasons)
            text += f", {len(self.unusable)} not used: {listing}"
        return text


class SideLabels:
    """The labels of all raters beside a dataset. Threads can share it."""

    def __init__(
        self,
        source: Dataset,
        home: Dataset,
        journal_of: Callable[[str], Journal],
        unreadable: Mapping[str, str] | None = None,
    ) -> None:
        """Take the dataset, the folder of its labels, and its current journals by method.

        Args:
            source: The dataset with the traces.
            home: The folder of the labels.
            journal_of: Returns the journal of a method; an empty one if it cannot be read.
            unreadable: By method, why its journal cannot be read; `journal_of` may add to it.
        """
        self.home = home
        self._journal_of = journal_of
        self._unreadable = {} if unreadable is None else unreadable
        self._current = CurrentSteps(source)
        self._lock = threading.Lock()
        # By method and shard: the version of the part, and its fingerprints by trace id.
        self._stored = dict[tuple[str, int], tuple[str, Fingerprints]]()
        # By method and entry: the last fit, which most traces keep for ever.
        self._fits = dict[tuple[str, str], FittedLabel]()

    def methods(self) -> Sequence[str]:
        """Return the methods of the raters, sorted."""
        stored = filter(is_human, self.home.methods("annotations"))
        return sorted({*journals_of(self.home), *stored})

    def require(self, method: str) -> None:
        """Check that there are labels of a rater.

        Raises:
            ConfigError: There are none.
            DatasetError: The journal of the rater cannot be read.
        """
        methods = self.methods()
        if method not in methods:
            raise ConfigError(
                f"{self.home.uri} has no labels of '{method[:80]}'; it has: {', '.join(methods)}"
            )
        if self._is_unreadable(method):
            raise DatasetError(self._unreadable[method])

    def _is_unreadable(self, method: str) -> bool:
        """Return whether a journal cannot be read, so that no label of its rater counts."""
        self._journal_of(method)
        return method in self._unreadable

    def faults(self) -> Sequence[str]:
        """Return what is wrong with the journals: each as a line of text."""
        faults = list[str]()
        for method, path in journals_of(self.home).items():
            faults.extend(f"{path}: {fault}" for fault in self._journal_of(method).faults())
            if self._is_unreadable(method):
                faults.append(f"{self._unreadable[method]}; no label of {method} is used")
        return faults

    def fitted(self, method: str) -> FittedLabels:
        """Return the newest label of each trace by a rater.

        Raises:
            DatasetError: A part of the labels or of the traces is damaged.
        """
        journal = self._journal_of(method)
        finishes, unknown = self._newest(method, journal)
        located = self._current.locate({key: event.shard for key, event in finishes.items()})
        labels = list[FittedLabel]()
        for trace_id, event in finishes.items():
            labels.append(self._fit(method, journal, event, located.get(trace_id)))
        return FittedLabels(labels=labels, unknown=unknown)

    def replaceable(self, label: FittedLabel) -> frozenset[str]:
        """Return the fingerprints of the labels that this one replaces in a dataset."""
        journal = self._journal_of(label.annotation.method)
        return replaceable_labels(journal, label.finish.trace_id)

    def remember(self, trace_id: str, shard: int, steps: tuple[str, ...]) -> None:
        """Store the steps of a trace that a page has just read."""
        self._current.remember(trace_id, LocatedSteps(shard, steps))

    def has_label(self, method: str, trace_id: str) -> bool:
        """Return whether a rater has finished a label of a trace, also if it is not used."""
        is_finished = trace_id in self._journal_of(method).finished()
        return is_finished or trace_id in self._stored_labels(method)

    def stored_fingerprint(self, method: str, trace_id: str) -> str:
        """Return the fingerprint of the stored label of a trace; "" if there is none."""
        return self._stored_labels(method).get(trace_id, "")

    def label_on(
        self, method: str, trace_id: str, shard: int, steps: tuple[str, ...]
    ) -> Annotation | None:
        """Return the label of a trace on some steps; None if it has none that fits."""
        journal = self._journal_of(method)
        finish = journal.finished().get(trace_id)
        if finish is None or not self._is_newest(method, journal, finish):
            return None
        fitted = self._fit(method, journal, finish, LocatedSteps(shard, steps)).fitted
        return None if isinstance(fitted, str) else fitted

    def _newest(self, method: str, journal: Journal) -> tuple[Mapping[str, Event], frozenset[str]]:
        """Return the newest label of each trace, and the traces whose newest one has no entry.

        That one was imported, or its entry is damaged. An older entry must not take its place.
        """
        finishes = dict(journal.finished())
        unknown = set[str]()
        for trace_id, fingerprint in self._stored_labels(method).items():
            if fingerprint not in replaceable_labels(journal, trace_id):
                unknown.add(trace_id)
                finishes.pop(trace_id, None)
        return finishes, frozenset(unknown)

    def _is_newest(self, method: str, journal: Journal, finish: Event) -> bool:
        fingerprint = self._stored_labels(method).get(finish.trace_id)
        return fingerprint is None or fingerprint in replaceable_labels(journal, finish.trace_id)

    def _stored_labels(self, method: str) -> Fingerprints:
        """Return the fingerprints of the annotations of a rater by trace id."""
        table = annotations(method)
        stored = dict[str, str]()
        with self._lock:
            for shard, version in self.home.part_versions(table).items():
                known = self._stored.get((method, shard))
                if known is None or known[0] != version:
                    columns = self.home.columns(table, shard, ["trace_id", "fingerprint"])
                    fingerprints = dict(zip(*columns.values(), strict=True))
                    known = (version, fingerprints)
                    self._stored[method, shard] = known
                stored.update(known[1])
        return stored

    def _fit(
        self, method: str, journal: Journal, finish: Event, located: LocatedSteps | None
    ) -> FittedLabel:
        known = self._fits.get((method, finish.event_id))
        if known is not None and known.located == located:
            return known
        annotation = finished_annotation(method, journal, finish)
        fitted: Annotation | str
        if located is None:
            fitted = GONE
        elif finish.steps_id != steps_id_of(finish.step_texts):
            fitted = UNKNOWN_STEPS
        else:
            fitted = carry_over(annotation, finish.step_texts, located.steps)
        label = FittedLabel(finish, annotation, located, fitted)
        self._fits[method, finish.event_id] = label
        return label


def open_side_labels(folder: str, source: Dataset) -> SideLabels:
    """Return the labels in a folder of `stepmark view --labels`; nothing is written to it.

    Args:
        folder: The folder.
        source: The dataset with the traces, which can be a copy of the one that was labelled.

    Raises:
        ConfigError: The folder has no labels, or is a dataset of its own.
    """
    home = Dataset(folder)
    if not home.folder.is_local or not Path(home.folder.root).is_dir():
        raise ConfigError(f"{folder} is no folder of this machine: name that of `view --labels`")
    if home.shards(TRACES):
        raise ConfigError(f"{folder} is a dataset: its labels by hand are used without an option")
    journals = dict[str, Journal]()
    unreadable = dict[str, str]()

    def journal_of(method: str) -> Journal:
        if method not in journals:
            journals[method] = Journal(journal_path(home, method))
            try:
                journals[method].read()
            except DatasetError as error:
                # Such as a link. It must not stop the other raters.
                unreadable[method] = str(error)
        return journals[method]

    labels = SideLabels(source, home, journal_of, unreadable)
    if not labels.methods():
        raise ConfigError(f"{folder} has no labels by hand: name the folder of `view --labels`")
    return labels
