"""The store of completions of a dataset, shard by shard.

A run looks up the completions of a shard by key and requests only those that are missing. Each
completion is visible at once and is on the disk (or in the bucket) after at most `flush_seconds`. A
killed run therefore loses the completions of the last few seconds.

Any number of processes may read while one process writes a shard. Memory contains the completions
of the shards that are open.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from stepmark.errors import DatasetError
from stepmark.records import StoredCompletion
from storage.completions.files import (
    Damaged,
    Header,
    StoreFile,
    list_files,
    part_file,
    read_headers,
    read_table,
    segment_file,
    write_table,
)
from storage.completions.rows import (
    NO_REVISION,
    IndexedRows,
    Revised,
    encodable,
    to_table,
)
from storage.dataset.dataset import Dataset

__all__ = ["CompletionStore", "ShardStore"]

# Another process can replace segments by a part between listing the files and reading them.
_LOAD_ATTEMPTS = 5
# With more segments than this, a shard is compacted before it is finished: otherwise hours of
# segments would make the next start slow. One compaction per 32 flushes costs little.
_MAX_SEGMENTS = 32


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class _LoadedFile:
    """A file of completions in memory."""

    file: StoreFile
    header: Header
    table: pa.Table
    rows: IndexedRows


def _loaded(file: StoreFile, header: Header, table: pa.Table) -> _LoadedFile:
    return _LoadedFile(file, header, table, IndexedRows([table]))


class _FileVanishedError(Exception):
    """Another process removed the file after it was listed."""


class CompletionStore:
    """The completions of a dataset.

    Args:
        dataset: The dataset.
        flush_seconds: The time after which a completion is written at the latest.
        ignore: Stored completions for which it returns True are treated as missing, so that a run
            requests them again. Those that this process stored are never ignored.
        report: Receives one line for each damaged file, from any thread. Damaged files are skipped:
            their completions are requested again. They are never removed.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        flush_seconds: float = 5.0,
        ignore: Callable[[StoredCompletion], bool] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = dataset.folder
        self.flush_seconds = flush_seconds
        self.ignore = ignore
        self._report = report
        self._damaged: dict[str, str] = {}
        self._shards_of: dict[str, tuple[int, ...]] = {}
        # Several new shards can read the file of one old shard, which is then in memory once. If
        # another process replaced it since, completions are missing and are requested again.
        self._shared: weakref.WeakValueDictionary[str, _LoadedFile] = weakref.WeakValueDictionary()

    @property
    def damaged(self) -> Mapping[str, str]:
        """The reason by path, for each damaged file that was found until now."""
        return dict(self._damaged)

    def loaded_files(self) -> int:
        """Return the number of files in memory, which open shards can share."""
        return len(self._shared)

    def open(self) -> None:
        """Read the footers of all files, to find the shards that cover each problem.

        Without this, a shard finds the completions in its own files only.

        Raises:
            DatasetError: The file system failed, or a newer Stepmark wrote a file.
        """
        shards_of: dict[str, tuple[int, ...]] = {}
        for file, header in read_headers(self.folder, list(list_files(self.folder))):
            if isinstance(header, Damaged):
                self._add_damaged(file, header)
            if not isinstance(header, Header):
                continue
            # Nearly all problems have one shard, so the problems of a file share one tuple.
            only_this = (file.shard,)
            for problem_id in header.problem_ids:
                shards = shards_of.setdefault(problem_id, only_this)
                if file.shard not in shards:
                    shards_of[problem_id] = (*shards, file.shard)
        self._shards_of = shards_of

    def covers(self, problem_id: str) -> bool:
        """Return whether a file was written for a shard with this problem; see `open`."""
        return problem_id in self._shards_of

    def shard(self, shard: int, problem_ids: Sequence[str]) -> "ShardStore":
        """Return the store of one shard, which nothing else may write at the same time.

        Args:
            shard: The number of the shard.
            problem_ids: All problems of the shard.
        """
        covering = {shard}
        for problem_id in problem_ids:
            covering.update(self._shards_of.get(problem_id, ()))
        return ShardStore(self, Header(shard, tuple(problem_ids)), covering)

    def load(self, shard: int, covering: Collection[int]) -> list[_LoadedFile]:
        """Return the readable files of some shards.

        Args:
            shard: The shard that is opened. Its files are always read; those of other shards are
                shared with the shards that are open already.
            covering: The shards whose files are returned, `shard` included.
        """
        for _ in range(_LOAD_ATTEMPTS):
            try:
                return self._load(shard, covering)
            except _FileVanishedError:
                continue
        raise DatasetError(
            f"{self.folder.location('completions')}: files are removed while they are read;"
            " is another run writing here?"
        )

    def write(self, file: StoreFile, header: Header, table: pa.Table) -> _LoadedFile:
        """Write a file atomically and return it as `load` would."""
        with self.folder.writing(file.path) as output:
            write_table(output, table, header, is_part=file.is_part)
        written = _loaded(file, header, table)
        self._shared[file.path] = written
        return written

    def is_damaged(self, file: StoreFile) -> bool:
        """Return whether a file was found to be damaged."""
        return file.path in self._damaged

    def _load(self, shard: int, covering: Collection[int]) -> list[_LoadedFile]:
        loaded_files = []
        for file in list_files(self.folder, covering):
            loaded = None
            if file.shard != shard:
                loaded = self._shared.get(file.path)
            if loaded is None:
                loaded = self._read(file)
            if loaded is not None:
                loaded_files.append(loaded)
                self._shared[file.path] = loaded
        return loaded_files

    def _read(self, file: StoreFile) -> _LoadedFile | None:
        try:
            header, table = read_table(self.folder, file.path)
        except Damaged as damage:
            self._add_damaged(file, damage)
            return None
        except DatasetError as error:
            if self.folder.has(file.path):
                raise
            raise _FileVanishedError from error
        return _loaded(file, header, table)

    def _add_damaged(self, file: StoreFile, damage: Damaged) -> None:
        if file.path in self._damaged:
            return
        self._damaged[file.path] = str(damage)
        if self._report is not None:
            location = self.folder.location(file.path)
            self._report(f"{location} is damaged and is skipped: {damage}")


class ShardStore:
    """The completions of one shard, for one event loop; files are read and written in threads."""

    def __init__(self, store: CompletionStore, header: Header, covering: Collection[int]) -> None:
        self._store = store
        self._header = header
        # The shards whose files can contain completions of the problems, this one included.
        self._covering = covering
        # Held while files are read or written, in threads. A cancelled call does not stop its
        # thread, so a lock of the event loop would not be enough.
        self._file_lock = threading.Lock()
        # Held for at most milliseconds, while rows are looked up, added or replaced.
        self._lock = threading.Lock()
        self._is_loaded = False
        self._own_files: list[_LoadedFile] = []
        # The rows of these files.
        self._own_rows = IndexedRows()
        # Files of other shards.
        self._other_files: list[_LoadedFile] = []
        # Completions that are in no file: those that wait for the next flush, and those of the
        # flush that is running.
        self._pending: dict[bytes, Revised] = {}
        self._writing: dict[bytes, Revised] = {}
        # The keys of completions that this process has stored, which are never ignored.
        self._put_keys: set[bytes] = set()
        # The attributes below are used by the event loop only.
        self._load_lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._background_failed = False

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, StoredCompletion]:
        """Return the stored completions by key; missing ones are left out.

        Raises:
            DatasetError: The file system failed.
        """
        await self._load()
        found: dict[bytes, StoredCompletion] = {}
        with self._lock:
            if self._has_none(keys):
                return found
            for key in keys:
                current = self._current(key)
                if current is not None and not self._is_ignored(current.completion):
                    found[key] = current.completion
        return found

    async def put(self, completions: Sequence[StoredCompletion]) -> None:
        """Store completions; they replace those that have the same keys.

        Raises:
            DatasetError: The file system failed. The completions remain in memory.
        """
        await self._load()
        encoded = {completion.key: encodable(completion) for completion in completions}
        with self._lock:
            if self._store.ignore is not None:
                self._put_keys.update(encoded)
            if self._has_none(encoded):
                self._pending.update((key, Revised(row, 0)) for key, row in encoded.items())
            else:
                self._replace(encoded.values())
            has_pending = bool(self._pending)
        if self._background_failed:
            # Memory must not grow without limit, so a failure that lasts ends the run.
            await self.flush()
        elif has_pending:
            self._start_timer()

    async def flush(self) -> None:
        """Write all completions that are only in memory.

        Raises:
            DatasetError: The file system failed. The completions remain in memory.
        """
        self._cancel_timer()
        await asyncio.to_thread(self._write_pending)
        self._background_failed = False

    async def close(self, *, compact: bool) -> None:
        """Write all completions, and with `compact` merge the files of the shard into one part.

        Raises:
            DatasetError: The file system failed. The completions remain in memory.
        """
        if compact:
            self._cancel_timer()
            await self._load()
            await asyncio.to_thread(self._compact)
        else:
            await self.flush()
        # These tasks have nothing left to write, but must end before the event loop does.
        await asyncio.gather(*self._background)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _load(self) -> None:
        if self._is_loaded:
            return
        # Many traces wait for the first load; only one of them occupies a thread.
        async with self._load_lock:
            if not self._is_loaded:
                await asyncio.to_thread(self._load_files)

    def _load_files(self) -> None:
        with self._file_lock:
            # A cancelled call leaves its thread behind, which may have loaded them meanwhile.
            if self._is_loaded:
                return
            for loaded in self._store.load(self._header.shard, self._covering):
                if loaded.file.shard == self._header.shard:
                    self._own_files.append(loaded)
                    self._own_rows.add(loaded.table)
                else:
                    self._other_files.append(loaded)
            self._is_loaded = True

    def _current(self, key: bytes) -> Revised | None:
        """Return the newest completion of a key; the caller holds the lock."""
        current = self._pending.get(key) or self._writing.get(key)
        if current is not None:
            return current
        newest = self._own_rows
        newest_revision = newest.revision(key)
        for loaded in self._other_files:
            revision = loaded.rows.revision(key)
            if revision > newest_revision:
                newest = loaded.rows
                newest_revision = revision
        if newest_revision == NO_REVISION:
            return None
        return Revised(newest.completion(key), newest_revision)

    def _is_ignored(self, completion: StoredCompletion) -> bool:
        ignore = self._store.ignore
        if ignore is None or completion.key in self._put_keys:
            return False
        return ignore(completion)

    def _has_none(self, keys: Collection[bytes]) -> bool:
        """Return whether no completion of any key is stored; the caller holds the lock.

        Most requests of a run are new. This is much faster than one lookup per key.
        """
        return (
            self._pending.keys().isdisjoint(keys)
            and self._writing.keys().isdisjoint(keys)
            and self._own_rows.index().keys().isdisjoint(keys)
            and all(loaded.rows.index().keys().isdisjoint(keys) for loaded in self._other_files)
        )

    def _replace(self, completions: Iterable[StoredCompletion]) -> None:
        """Add completions whose keys may be stored already; the caller holds the lock."""
        for completion in completions:
            current = self._current(completion.key)
            if current is None:
                self._pending[completion.key] = Revised(completion, 0)
            elif current.completion != completion:
                self._pending[completion.key] = Revised(completion, current.revision + 1)

    def _start_timer(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._store.flush_seconds, self._start_background)

    def _start_background(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self._flush_in_background())
        # The event loop itself does not keep a task alive.
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _flush_in_background(self) -> None:
        try:
            await self.flush()
        except DatasetError:
            # The next `put`, `flush` or `close` tries again and raises if that fails too.
            self._background_failed = True

    def _write_pending(self) -> None:
        """Write the pending completions as a segment."""
        with self._file_lock, self._writing_pending() as batch:
            if not batch:
                return
            file = segment_file(self._header.shard)
            loaded = self._store.write(file, self._header, to_table(batch.values()))
            with self._lock:
                self._own_rows.add(loaded.table)
            self._own_files.append(loaded)
            if len(self._own_files) > _MAX_SEGMENTS:
                self._merge_own_files()

    def _compact(self) -> None:
        """Merge the files of the shard and the pending completions into one part."""
        with self._file_lock, self._writing_pending() as batch:
            files = [loaded.file for loaded in self._own_files]
            is_compact = files in ([], [part_file(self._header.shard)])
            # A damaged part is not replaced, and merging one segment would only copy it.
            is_alone = len(files) == 1 and self._store.is_damaged(part_file(self._header.shard))
            if not batch and (is_compact or is_alone):
                return
            if batch:
                table = to_table(batch.values())
                with self._lock:
                    self._own_rows.add(table)
            self._merge_own_files()

    @contextmanager
    def _writing_pending(self) -> Iterator[Mapping[bytes, Revised]]:
        """Yield the pending completions, which the block writes; the caller holds the file lock.

        If the block fails, they are pending again.
        """
        with self._lock:
            batch = self._pending
            self._writing = batch
            self._pending = {}
        try:
            yield batch
        except BaseException:
            with self._lock:
                self._pending = batch | self._pending
            raise
        finally:
            with self._lock:
                self._writing = {}

    def _merge_own_files(self) -> None:
        """Replace the files of the shard by one; the caller holds the file lock.

        If the process is killed before all old files are removed, their rows exist twice, with
        equal revisions, until the next compaction.
        """
        old_files = self._own_files
        # The merged file covers the problems of all old files: they may belong to other shards now.
        problem_ids = dict.fromkeys(self._header.problem_ids)
        for loaded in old_files:
            problem_ids.update(dict.fromkeys(loaded.header.problem_ids))
        target = part_file(self._header.shard)
        if self._store.is_damaged(target):
            # A damaged file is not replaced: its owner may want to recover it.
            target = segment_file(self._header.shard)
        with self._lock:
            self._own_rows.index()
        # Not under the lock, for which the event loop would wait. No rows are added meanwhile,
        # because the file lock is held.
        newest = self._own_rows.newest_rows()
        merged = self._store.write(target, Header(self._header.shard, tuple(problem_ids)), newest)
        with self._lock:
            self._own_rows = IndexedRows([newest])
        self._own_files = [merged]
        for loaded in old_files:
            if loaded.file != target:
                self._store.folder.remove(loaded.file.path)
