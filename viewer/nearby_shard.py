"""The parts of one shard of a dataset on this machine, for pages of many traces of the shard."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.dataset.dataset import DamagedPartError, Dataset

__all__ = ["NearbyShard", "nearby_shard"]


class NearbyShard:
    """One shard at a time of a dataset in a bucket.

    Each reading of a record downloads its whole part from a bucket, and the page of a trace has
    records of some 20 parts.

    Args:
        dataset: The dataset.
        folder: An empty folder.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self._dataset = dataset
        self._folder = folder
        self._shard: int | None = None
        self._nearby = dataset

    def dataset_of(self, shard: int) -> Dataset:
        """Return a dataset on this machine that has at least the parts of a shard.

        Raises:
            DatasetError: A part is damaged, or was removed meanwhile.
        """
        if self._dataset.folder.is_local:
            return self._dataset
        if shard != self._shard:
            self._shard = None
            self._nearby = Dataset(str(self._folder / "shard"))
            shutil.rmtree(self._nearby.uri, ignore_errors=True)
            self._download(shard, self._nearby)
            self._shard = shard
        return self._nearby

    def _download(self, shard: int, nearby: Dataset) -> None:
        for table in self._dataset.tables():
            if shard not in self._dataset.shards(table):
                continue
            path = self._dataset.path(table, shard)
            copy = Path(nearby.uri, path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with self._dataset.folder.reading(path) as part, copy.open("wb") as file:
                shutil.copyfileobj(part, file)
            try:
                nearby.check_part(table, shard)
            except DamagedPartError as error:
                # The copy has another path.
                raise self._dataset.damage_error(table, shard) from error


@contextmanager
def nearby_shard(dataset: Dataset) -> Iterator[NearbyShard]:
    """Yield what downloads the shards of a dataset, with a folder that exists in the block."""
    with tempfile.TemporaryDirectory(prefix="stepmark-") as folder:
        yield NearbyShard(dataset, Path(folder))
