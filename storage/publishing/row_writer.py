"""Write the rows of a dataset to files: all of them, the first ones, or balanced ones."""

import shutil
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from storage.publishing.files import ExportFiles, file_type_of
from storage.publishing.shard_processes import rows_of_shards
from storage.publishing.shard_rows import ShardRows
from storage.publishing.statistics import ExportStatistics

__all__ = ["write_rows"]


def write_rows(shard_rows: ShardRows, folder: Path, processes: int) -> ExportStatistics:
    """Write the rows to a new folder and return their statistics.

    Args:
        shard_rows: The conversion of a shard to rows.
        folder: The folder. During a balanced export its parent contains another one.
        processes: The number of processes that make rows.

    Raises:
        DatasetError: A part of the dataset is damaged, or a process died.
    """
    if shard_rows.options.balance:
        return _write_balanced(shard_rows, folder, processes)
    statistics = ExportStatistics()
    files = ExportFiles(folder, shard_rows.schema, file_type_of(shard_rows.exporter))
    remaining = shard_rows.options.limit
    with closing(rows_of_shards(shard_rows, processes)) as shards:
        for rows_by_split, shard_statistics in shards:
            statistics.update(shard_statistics)
            written = 0
            for split, rows in rows_by_split.items():
                count = len(rows.numbers)
                if remaining is not None:
                    # The first rows of the shard, whatever their splits are.
                    count = bisect_left(rows.numbers, remaining)
                    _add_left_out(statistics, "beyond the limit", len(rows.numbers) - count)
                files.write(split, _first_rows(rows.batches, count))
                written += count
            if remaining is not None:
                remaining -= written
            if remaining == 0:
                break
    statistics.split_rows.update(files.finish())
    return statistics


def _write_balanced(shard_rows: ShardRows, folder: Path, processes: int) -> ExportStatistics:
    """Write as many rows with an error as without one, in each split.

    All rows are written first: making them a second time takes longer than reading them again.
    """
    statistics = ExportStatistics()
    all_files = ExportFiles(folder.with_name("all"), shard_rows.schema)
    have_error = dict[str, bytearray]()
    with closing(rows_of_shards(shard_rows, processes)) as shards:
        for rows_by_split, shard_statistics in shards:
            statistics.update(shard_statistics)
            for split, rows in rows_by_split.items():
                all_files.write(split, rows.batches)
                have_error.setdefault(split, bytearray()).extend(rows.have_error)
    all_files.finish()
    is_kept = shard_rows.options.balanced_rows(
        {split: bytes(rows) for split, rows in have_error.items()}
    )
    files = ExportFiles(folder, shard_rows.schema, file_type_of(shard_rows.exporter))
    for split, rows_kept in is_kept.items():
        start = 0
        for batch in all_files.read(split):
            end = start + batch.num_rows
            files.write(split, [batch.filter(pa.array(map(bool, rows_kept[start:end])))])
            start = end
    shutil.rmtree(all_files.folder, ignore_errors=True)
    dropped = sum(rows_kept.count(0) for rows_kept in is_kept.values())
    _add_left_out(statistics, "dropped by the balance", dropped)
    statistics.split_rows.update(files.finish())
    return statistics


def _first_rows(batches: Iterable[pa.RecordBatch], count: int) -> list[pa.RecordBatch]:
    first = list[pa.RecordBatch]()
    for batch in batches:
        if count:
            first.append(batch.slice(0, count))
            count -= first[-1].num_rows
    return first


def _add_left_out(statistics: ExportStatistics, reason: str, count: int) -> None:
    # A count of zero would be listed.
    if count:
        statistics.left_out[reason] += count
