"""The last stage of a run: turn annotations into labels, and let filters drop some of them.

Labels are written shard by shard unless the labeler is fitted to all traces or filters compare
traces; then they are written when all shards are annotated.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from tempfile import TemporaryDirectory

from annotators.base import AnnotatedTrace, FittableLabeler, Labeler
from filters.base import Candidate
from pipelines.run.filtering import drop_reasons, mark_dropped
from pipelines.run.resume import is_current, labels_part_keys
from pipelines.run.run_context import RunContext
from stepmark.errors import ConfigError
from stepmark.records import Label
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations

__all__ = ["Labelling"]


@dataclass(frozen=True)
class Labelling:
    """The labelling stage of a run. It uses no engine."""

    run: RunContext

    async def label(self, shard: int) -> None:
        """Write the labels of one shard, for a labeler that needs no other shard."""
        labeler = self.run.plan.labeler
        if labeler is None:
            return
        assert not isinstance(labeler, FittableLabeler), "fitting needs all shards: `label_all`"
        await asyncio.to_thread(self._write_shard, shard, labeler)

    async def label_all(self) -> None:
        """Write the labels of all shards: fit the labeler, label, then apply the filters."""
        await asyncio.to_thread(self._update_all)

    def _update_all(self) -> None:
        part_keys = labels_part_keys(self.run, self.run.dataset.shards(TRACES))
        if not all(is_current(self.run, LABELS, shard, key) for shard, key in part_keys.items()):
            self._write_all(part_keys)

    def _write_shard(self, shard: int, labeler: Labeler) -> None:
        part_key = labels_part_keys(self.run, [shard])[shard]
        if not is_current(self.run, LABELS, shard, part_key):
            self._write_labels(shard, part_key, self._labels(shard, labeler))

    def _write_all(self, part_keys: Mapping[int, str]) -> None:
        """Label all shards into a temporary dataset, filter, and write the result.

        Earlier labels are removed first, and nothing is written before all filters have run: a run
        that is killed in a filter leaves no labels that other filters have passed.
        """
        for shard, part_key in part_keys.items():
            if not is_current(self.run, LABELS, shard, part_key):
                self.run.dataset.remove_part(LABELS, shard)
        labeler = self._fitted_labeler(part_keys)
        # Drafts are on disk, so that memory stays bounded for datasets of any size.
        with TemporaryDirectory() as folder:
            drafts = Dataset(folder)
            for shard, part_key in part_keys.items():
                drafts.write_part(LABELS, shard, self._labels(shard, labeler), part_key)
            reasons = drop_reasons(self.run.plan.filters, partial(self._candidates, drafts))
            for shard, part_key in part_keys.items():
                if is_current(self.run, LABELS, shard, part_key):
                    continue
                drafted = drafts.read_part(LABELS, shard)
                labels = (mark_dropped(label, reasons.get(label.trace_id)) for label in drafted)
                self._write_labels(shard, part_key, labels)

    def _fitted_labeler(self, shards: Iterable[int]) -> Labeler:
        """Return the labeler, fitted to the traces of these shards if it is fittable."""
        labeler = self.run.plan.labeler
        assert labeler is not None, "`plan.build` rejects filters without a labeler"
        if not isinstance(labeler, FittableLabeler):
            return labeler
        if labeler.gold and labeler.gold not in self.run.dataset.methods("annotations"):
            raise ConfigError(
                f"[label] gold = '{labeler.gold}': {self.run.dataset.uri} has no annotations "
                "of that name"
            )
        by_shard = (self._traces_with_gold(shard, labeler.gold) for shard in shards)
        # Chained lazily, so that only one shard is in memory while the labeler reads.
        return labeler.fit(chain.from_iterable(by_shard))

    def _traces_with_gold(self, shard: int, gold: str) -> Iterator[AnnotatedTrace]:
        """Yield the traces of a shard with their annotations, and with the ground truth if any."""
        methods = list(self.run.plan.annotators)
        # People need not label traces of every shard.
        if gold and shard in self.run.dataset.shards(annotations(gold)):
            methods.append(gold)
        reader = self.run.reader
        return reader.annotated_traces(shard, methods, reader.trace_tables())

    def _candidates(self, drafts: Dataset) -> Iterator[Candidate]:
        """Yield every trace of the dataset with its problem and its drafted label."""
        for shard in drafts.shards(LABELS):
            traces = self.run.reader.traces(shard, self.run.reader.trace_tables())
            labels = drafts.read_part(LABELS, shard)
            for (problem, trace), label in zip(traces, labels, strict=True):
                yield Candidate(problem, trace, label)

    def _labels(self, shard: int, labeler: Labeler) -> Iterator[Label]:
        fingerprint = self.run.fingerprints.labels()
        methods = list(self.run.plan.annotators)
        tables = self.run.reader.trace_tables()
        for trace, by_method in self.run.reader.annotated_traces(shard, methods, tables):
            yield replace(labeler.label(trace, by_method), fingerprint=fingerprint)

    def _write_labels(self, shard: int, part_key: str, labels: Iterable[Label]) -> None:
        footer = self.run.dataset.write_part(LABELS, shard, self._counted(labels), part_key)
        self.run.meter.finish("labels", footer.rows)

    def _counted(self, labels: Iterable[Label]) -> Iterator[Label]:
        """Yield the labels, and count those that are kept."""
        for label in labels:
            self.run.meter.kept += label.kept
            yield label
