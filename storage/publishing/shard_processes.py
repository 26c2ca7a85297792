"""The rows of several shards, made one after the other or by several processes."""

import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from typing import TypeAlias

from stepmark.errors import DatasetError
from stepmark.plugin_files import file_plugin_of
from storage.publishing.shard_rows import ShardRows, SplitRows
from storage.publishing.statistics import ExportStatistics

__all__ = ["CountedRows", "rows_of_shards"]

CountedRows: TypeAlias = tuple[Mapping[str, SplitRows], ExportStatistics]
"""The rows of a shard by split, and the counts of its traces."""

# The conversion of a worker process, which is sent to it once.
_shard_rows: ContextVar[ShardRows] = ContextVar("shard_rows")


def rows_of_shards(shard_rows: ShardRows, processes: int) -> Generator[CountedRows, None, None]:
    """Yield the rows of all shards in order.

    Memory holds the rows of one shard for each process, and of one more.

    Args:
        shard_rows: The conversion.
        processes: The number of processes that make rows. With 1 it is this process, and so it is
            for the format of a plugin file, which is executed once.

    Raises:
        DatasetError: A process died.
    """
    shards = shard_rows.join.shards
    if processes == 1 or file_plugin_of(type(shard_rows.exporter).__module__) is not None:
        for shard in shards:
            statistics = ExportStatistics()
            yield shard_rows.rows(shard, statistics), statistics
        return
    # New interpreters, because a fork copies the locks of running threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(shard_rows,))
    try:
        yield from _in_order(pool, shards, processes)
    except BrokenProcessPool as error:
        raise DatasetError(
            "a process of the export died, probably without memory: export with --processes 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, shards: Sequence[int], processes: int
) -> Iterator[CountedRows]:
    pending = deque[Future[CountedRows]]()
    for shard in shards:
        pending.append(pool.submit(_rows, shard))
        # One more than the processes, so that none of them waits for the next shard.
        if len(pending) > processes:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _start(shard_rows: ShardRows) -> None:
    # The parent process handles the interrupt, and then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Records and rows are in no reference cycle: a collection takes time and frees nothing.
    gc.disable()
    _shard_rows.set(shard_rows)


def _rows(shard: int) -> CountedRows:
    statistics = ExportStatistics()
    return _shard_rows.get().rows(shard, statistics), statistics
