"""Labels from annotations: shard by shard, or of all shards where the labeler learns or filters compare traces."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from tempfile import TemporaryDirectory

from annotators.base import FittableLabeler, Labeler
from filters.base import Candidate
from pipelines.run.dataset_reader import Contents
from pipelines.run.filtering import dropped_by, without
from pipelines.run.meter import Meter
from pipelines.run.plan import Plan
from stepmark.errors import ConfigError
from stepmark.records import Label
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations

__all__ = ["Labelling"]


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """The last stage of a plan: it writes the labels of a dataset, and spends no token."""

    plan: Plan
    dataset: Dataset
    meter: Meter

    async def label(self, shard: int) -> None:
        """Label the traces of a shard from the annotations of the run's methods, where the other shards have no say in it."""
        labeler = self.plan.labeler
        if labeler is not None:
            assert not isinstance(labeler, FittableLabeler), "what learns waits for all shards"
            await asyncio.to_thread(self._write, shard, labeler)

    def _write(self, shard: int, labeler: Labeler) -> None:
        stamp = self.stamps({shard: self._contents.stamp(TRACES, shard)})[shard]
        if not self.dataset.has_part(LABELS, shard, stamp):
            self._write_labels(shard, stamp, self._labels(shard, labeler))

    async def label_all(self) -> None:
        """Label the traces of all shards, once the labeler has learned from them, and have the filters drop some."""
        stamps = self.stamps(
            {shard: self._contents.stamp(TRACES, shard) for shard in self.dataset.shards(TRACES)}
        )
        if not all(self.dataset.has_part(LABELS, shard, stamp) for shard, stamp in stamps.items()):
            await asyncio.to_thread(self._write_all, stamps)

    def stamps(self, traces: Mapping[int, str]) -> Mapping[int, str]:
        """The stamps that labels of these traces bear, as the gold stands now."""
        gold = annotations(self.plan.gold) if self.plan.gold else None
        footers = {shard: self.dataset.footer(gold, shard) for shard in traces} if gold else {}
        return self.plan.labels_stamps(
            traces, {shard: footer.fingerprint for shard, footer in footers.items() if footer}
        )

    def _write_all(self, stamps: Mapping[int, str]) -> None:
        """Labels reach the dataset when every filter has spoken: until then they lie in a folder of their own."""
        labeler = self._fitted(stamps)
        with TemporaryDirectory() as folder:
            drafts = Dataset(folder)
            for shard, stamp in stamps.items():
                drafts.write_part(LABELS, shard, self._labels(shard, labeler), stamp)
            dropped = dropped_by(self.plan.filters, partial(self._candidates, drafts))
            for shard, stamp in stamps.items():
                if not self.dataset.has_part(LABELS, shard, stamp):
                    labels = (
                        without(label, dropped.get(label.trace_id))
                        for label in drafts.read_part(LABELS, shard)
                    )
                    self._write_labels(shard, stamp, labels)

    def _fitted(self, shards: Iterable[int]) -> Labeler:
        """The labeler, once it has learned from these shards if it learns."""
        fitting = self.plan.labeler
        assert fitting is not None, "filters come with a labeler"
        if not isinstance(fitting, FittableLabeler):
            return fitting
        if fitting.gold and fitting.gold not in self.dataset.methods("annotations"):
            raise ConfigError(
                f"[label] gold = '{fitting.gold}': {self.dataset.uri} has no annotations of that name"
            )
        methods = [*self.plan.annotators, *[fitting.gold] * bool(fitting.gold)]
        return fitting.fit(
            case for shard in shards for case in self._contents.cases(shard, methods)
        )

    def _candidates(self, drafts: Dataset) -> Iterator[Candidate]:
        for shard in drafts.shards(LABELS):
            traces = self._contents.traces(shard, *self._contents.tables_of_traces())
            for (problem, trace), label in zip(
                traces, drafts.read_part(LABELS, shard), strict=True
            ):
                yield Candidate(problem, trace, label)

    def _labels(self, shard: int, labeler: Labeler) -> Iterator[Label]:
        fingerprint = self.plan.labels_fingerprint()
        for trace, said in self._contents.cases(shard, list(self.plan.annotators)):
            yield replace(labeler.label(trace, said), fingerprint=fingerprint)

    def _write_labels(self, shard: int, stamp: str, labels: Iterable[Label]) -> None:
        self.meter.finish("labels", self.dataset.write_part(LABELS, shard, labels, stamp))

    @property
    def _contents(self) -> Contents:
        return Contents(dataset=self.dataset, explorers=self.plan.explorers)
