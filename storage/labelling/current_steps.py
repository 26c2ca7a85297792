"""The steps that the traces of a dataset have now."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, Table, discovered

__all__ = ["CurrentSteps", "LocatedSteps", "locate_steps"]


@dataclass(frozen=True, slots=True)
class LocatedSteps:
    """The steps of a trace, and the shard that it is in."""

    shard: int
    steps: tuple[str, ...]


class CurrentSteps:
    """The steps of traces, read once for each version of the parts. Threads can share it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._lock = threading.Lock()
        # By folder of a table and shard.
        self._versions = dict[tuple[str, int], str]()
        self._located = dict[str, LocatedSteps | None]()

    def locate(self, expected_shards: Mapping[str, int]) -> Mapping[str, LocatedSteps]:
        """Return the steps of the traces that the dataset has; see `locate_steps`.

        Raises:
            DatasetError: A part of the traces is damaged.
        """
        with self._lock:
            self._forget_changed_parts()
            missing = expected_shards.keys() - self._located.keys()
            if missing:
                # Listing the parts of a bucket takes a request for each table.
                shards = {trace_id: expected_shards[trace_id] for trace_id in missing}
                located = locate_steps(self.dataset, shards)
                for trace_id in missing:
                    self._located[trace_id] = located.get(trace_id)
            present = dict[str, LocatedSteps]()
            for trace_id in expected_shards:
                steps = self._located[trace_id]
                if steps is not None:
                    present[trace_id] = steps
            return present

    def remember(self, trace_id: str, located: LocatedSteps) -> None:
        """Store the steps of a trace that a page has just read: a bucket must not send them again.

        They are forgotten when a part of the shard changes.
        """
        with self._lock:
            self._located[trace_id] = located

    def _forget_changed_parts(self) -> None:
        """Forget the traces of shards that have changed, and those that no shard had."""
        versions = dict[tuple[str, int], str]()
        for table in _tables(self.dataset):
            for shard, version in self.dataset.part_versions(table).items():
                versions[table.folder, shard] = version
        changes = versions.items() ^ self._versions.items()
        if not changes:
            return
        changed_shards = {shard for (_, shard), _ in changes}
        for trace_id, located in list(self._located.items()):
            if located is None or located.shard in changed_shards:
                del self._located[trace_id]
        self._versions = versions


def locate_steps(
    dataset: Dataset, expected_shards: Mapping[str, int]
) -> Mapping[str, LocatedSteps]:
    """Return the shard and the steps of each trace that a dataset has.

    Args:
        dataset: The dataset.
        expected_shards: By trace id, the shard that the trace was in. The other shards are read
            only if it is not there.

    Raises:
        DatasetError: A part of the traces is damaged.
    """
    located = dict[str, LocatedSteps]()
    expected = set(expected_shards.values())
    for is_expected in (True, False):
        for table in _tables(dataset):
            for shard in dataset.shards(table):
                # A run can have moved a trace to another shard, but rarely has.
                missing = expected_shards.keys() - located.keys()
                if missing and (shard in expected) == is_expected:
                    located.update(_steps_in(dataset, table, shard, missing))
    return located


def _steps_in(
    dataset: Dataset, table: Table[Any], shard: int, trace_ids: Collection[str]
) -> Mapping[str, LocatedSteps]:
    located = dict[str, LocatedSteps]()
    for trace in dataset.matching_records(table, shard, "trace_id", trace_ids):
        located[trace.trace_id] = LocatedSteps(shard, trace.steps)
    return located


def _tables(dataset: Dataset) -> list[Table[Any]]:
    return [TRACES, *map(discovered, dataset.methods("discovered"))]
