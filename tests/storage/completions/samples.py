"""Completions for tests, and a dataset that raises at one of its file operations."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from stepmark.records import StoredCompletion
from storage.completions.store import CompletionStore, ShardStore
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.queries.sql import query

PROBLEMS = ("p0", "p1")


def key_of(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def keys_of(numbers: range) -> list[bytes]:
    return list(map(key_of, numbers))


def completion(number: int, text: str = "5 * 4 = 20", finish: str = "stop") -> StoredCompletion:
    return StoredCompletion(
        key=key_of(number),
        model="some/model",
        # The largest seed that every reader of JSON keeps exact.
        seed=2**53 - 1 - number,
        text=text,
        finish_reason=finish,
        prompt_tokens=7,
        cached_tokens=3,
        generated_tokens=11,
    )


def completions(start: int, stop: int) -> list[StoredCompletion]:
    return [completion(number, f"text {number}") for number in range(start, stop)]


def open_shard(dataset: Dataset, shard: int = 0, problems: Sequence[str] = PROBLEMS) -> ShardStore:
    """Open one shard as a new process does."""
    store = CompletionStore(dataset, flush_seconds=60)
    store.open()
    return store.shard(shard, problems)


async def append(dataset: Dataset, *batches: Sequence[StoredCompletion], shard: int = 0) -> None:
    """Write each batch as a segment."""
    opened = open_shard(dataset, shard)
    for batch in batches:
        await opened.put(batch)
        await opened.flush()


async def stored(
    dataset: Dataset, numbers: range, shard: int = 0, problems: Sequence[str] = PROBLEMS
) -> list[StoredCompletion]:
    """Return the completions that a new process finds."""
    keys = keys_of(numbers)
    found = await open_shard(dataset, shard, problems).get(keys)
    return [found[key] for key in keys if key in found]


def file_kinds(dataset: Dataset) -> list[str]:
    """Return "part" or "segment" for each file, without temporary files."""
    names = dataset.folder.files("completions")
    return [name.partition("-")[0] for name in names if not name.startswith(".")]


def view_rows(dataset: Dataset) -> list[tuple[int, str]]:
    """Return the seeds and texts in the view, sorted."""
    table = query(dataset, "SELECT seed, text FROM completions ORDER BY ALL")
    return list(zip(table["seed"].to_pylist(), table["text"].to_pylist(), strict=True))


def expected_rows(expected: Sequence[StoredCompletion]) -> list[tuple[int, str]]:
    return sorted((row.seed, row.text) for row in expected)


class Killed(BaseException):
    """The end of the process at a file operation."""


class FailingFolder:
    """File operations that raise from the given one on, as a killed process does nothing more.

    Each write counts as three points: before it, before its file appears, and after it. A removal
    counts as two.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, survives: int, error: BaseException):
        self.survives = survives
        self.error = error
        self.points = 0
        writing = Folder.writing
        remove = Folder.remove
        failing = self

        @contextmanager
        def failing_writing(folder: Folder, path: str) -> Iterator[BinaryIO]:
            failing.point()
            with writing(folder, path) as file:
                yield file
                failing.point()
            failing.point()

        def failing_remove(folder: Folder, path: str) -> None:
            failing.point()
            remove(folder, path)
            failing.point()

        monkeypatch.setattr(Folder, "writing", failing_writing)
        monkeypatch.setattr(Folder, "remove", failing_remove)

    def point(self) -> None:
        """Raise if this point is not survived."""
        self.points += 1
        if self.points > self.survives:
            raise self.error
