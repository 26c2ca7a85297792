"""Completions are found after problems were distributed over other shards."""

from collections.abc import Collection, Iterator

import pytest

from storage.completions import store as store_module
from storage.completions.files import StoreFile, list_files
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from tests.storage.completions.samples import (
    append,
    completion,
    completions,
    expected_rows,
    file_kinds,
    key_of,
    keys_of,
    open_shard,
    stored,
    view_rows,
)


async def fill_shards(dataset: Dataset, *, compact: bool) -> None:
    """Write two shards of two problems with ten completions each."""
    for number in range(2):
        shard = open_shard(dataset, number, [f"p{2 * number}", f"p{2 * number + 1}"])
        await shard.put(completions(10 * number, 10 * number + 10))
        await shard.close(compact=compact)


async def test_smaller_shards_find_completions(dataset: Dataset) -> None:
    await fill_shards(dataset, compact=True)
    for number in range(4):
        start = 10 * (number // 2)
        found = await stored(dataset, range(20), number, [f"p{number}"])
        # Shards 0 and 1 also read their own files.
        expected = completions(start, start + 10)
        if number < 2:
            expected = completions(0, start + 10) if number == 0 else completions(0, 20)
        assert found == expected


async def test_larger_shard_finds_completions(dataset: Dataset) -> None:
    await fill_shards(dataset, compact=False)
    assert await stored(dataset, range(20), 0, ["p0", "p1", "p2", "p3"]) == completions(0, 20)
    assert await stored(dataset, range(20), 7, ["p3"]) == completions(10, 20)
    assert await stored(dataset, range(20), 7, ["p9"]) == []


async def test_compaction_keeps_files_of_others(dataset: Dataset) -> None:
    await fill_shards(dataset, compact=True)
    rows = [*completions(0, 20), *completions(50, 55)]
    shard = open_shard(dataset, 0, ["p0", "p1", "p2", "p3"])
    await shard.put([*rows[-5:], completion(12, "newer")])
    await shard.close(compact=True)
    assert file_kinds(dataset) == ["part", "part"]
    rows[12] = completion(12, "newer")
    assert view_rows(dataset) == expected_rows(rows)
    # The old problems of a part stay in its footer.
    await open_shard(dataset, 0, ["p9"]).close(compact=True)
    for problem in ("p0", "p3"):
        found = await stored(dataset, range(60), 5, [problem])
        assert completion(12, "newer") in found
        assert set(rows[-5:]) <= set(found)


async def test_merged_part_covers_old_problems(dataset: Dataset) -> None:
    await append(dataset, completions(0, 5))
    shard = open_shard(dataset, 0, ["p9"])
    await shard.put(completions(5, 6))
    await shard.close(compact=True)
    for problem in ("p0", "p1", "p9"):
        assert await stored(dataset, range(6), 3, [problem]) == completions(0, 6)


async def test_covering_file_is_shared(dataset: Dataset) -> None:
    await fill_shards(dataset, compact=True)
    store = CompletionStore(dataset)
    store.open()
    shards = [store.shard(number, ["p0"]) for number in (5, 6)]
    for shard in shards:
        assert await shard.get([key_of(0)]) == {key_of(0): completions(0, 1)[0]}
    assert store.loaded_files() == 1


async def test_reader_survives_compaction(dataset: Dataset) -> None:
    await append(dataset, completions(0, 5), completions(5, 10))
    store = CompletionStore(dataset)
    store.open()
    reader = store.shard(4, ["p0"])
    # Another process replaces the segments after they were listed.
    await open_shard(dataset).close(compact=True)
    keys = keys_of(range(10))
    assert list((await reader.get(keys)).values()) == completions(0, 10)


async def test_vanished_files_are_listed_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(dataset, completions(0, 5))
    stale = list(list_files(dataset.folder))
    await open_shard(dataset).close(compact=True)
    listings = [stale, stale]

    def late_listing(folder: Folder, shards: Collection[int] | None = None) -> Iterator[StoreFile]:
        # As if the other process had removed the segments just after the listing.
        if listings:
            return iter(listings.pop())
        return list_files(folder, shards)

    monkeypatch.setattr(store_module, "list_files", late_listing)
    assert await stored(dataset, range(5)) == completions(0, 5)
    assert listings == []
