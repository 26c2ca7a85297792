"""Completions are found again, whenever the run that stored them ended."""

import asyncio
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepmark.errors import DatasetError
from stepmark.records import StoredCompletion
from storage.completions import store as store_module
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from tests.storage.completions.samples import (
    PROBLEMS,
    FailingFolder,
    Killed,
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

# Points of `FailingFolder` in `append_and_compact`: two segments are written, then the part, and
# then the three old files but the part are removed.
POINTS = 3 * 3 + 2 * 2

KILLED_WRITER = """
import asyncio, sys, time
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from tests.storage.completions.samples import completions, file_kinds

async def write():
    shard = CompletionStore(Dataset(sys.argv[1]), flush_seconds=0.05).shard(0, ["p0"])
    await shard.put(completions(0, 5))
    while not file_kinds(Dataset(sys.argv[1])):
        await asyncio.sleep(0.01)
    await shard.put(completions(5, 10))
    print("writing", flush=True)
    # The event loop is blocked, so the timer cannot flush the second batch.
    time.sleep(60)

asyncio.run(write())
"""


async def test_put_is_visible_at_once(dataset: Dataset) -> None:
    shard = open_shard(dataset)
    assert await shard.get([key_of(0)]) == {}
    await shard.put(completions(0, 2))
    assert await shard.get([key_of(1), key_of(2)]) == {key_of(1): completion(1, "text 1")}
    assert file_kinds(dataset) == []


async def test_values_survive_the_round_trip(dataset: Dataset) -> None:
    rows = [
        completion(0, ""),
        completion(1, "é\n\0🎲", "error: 400 bad request"),
        completion(2)._replace(seed=-(2**63), prompt_tokens=2**62),
        completion(3)._replace(logprobs=()),
        completion(4)._replace(logprobs=(-math.inf, math.inf, -0.1, 5e-324)),
    ]
    await append(dataset, rows)
    assert await stored(dataset, range(6)) == rows
    await open_shard(dataset).close(compact=True)
    assert await stored(dataset, range(6)) == rows


async def test_nan_and_surrogates_are_stored(dataset: Dataset) -> None:
    shard = open_shard(dataset)
    await shard.put([completion(0, "a\ud800b")._replace(logprobs=(math.nan, -1.0))])
    before = (await shard.get([key_of(0)]))[key_of(0)]
    await shard.close(compact=True)
    after = (await stored(dataset, range(1)))[0]
    for row in (before, after):
        assert row.text == "a\ufffdb"
        assert row.logprobs is not None
        assert math.isnan(row.logprobs[0])
        assert row.logprobs[1] == -1.0


async def test_segments_are_compacted(dataset: Dataset) -> None:
    rows = completions(0, 30)
    await append(dataset, rows[:10], rows[10:20], rows[20:])
    assert file_kinds(dataset) == ["segment"] * 3
    assert await stored(dataset, range(30)) == rows
    await open_shard(dataset).close(compact=True)
    assert file_kinds(dataset) == ["part"]
    assert await stored(dataset, range(30)) == rows
    assert view_rows(dataset) == expected_rows(rows)


async def test_part_and_segments_are_merged(dataset: Dataset) -> None:
    rows = completions(0, 30)
    for start in (0, 10, 20):
        shard = open_shard(dataset)
        await shard.put(rows[start : start + 10])
        await shard.close(compact=True)
        assert file_kinds(dataset) == ["part"]
    assert await stored(dataset, range(40)) == rows


async def test_close_without_rows_writes_nothing(dataset: Dataset) -> None:
    await open_shard(dataset).close(compact=True)
    assert file_kinds(dataset) == []
    await append(dataset, completions(0, 3))
    await open_shard(dataset).close(compact=False)
    assert file_kinds(dataset) == ["segment"]


async def test_unchanged_part_is_not_rewritten(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(dataset, completions(0, 3))
    await open_shard(dataset).close(compact=True)
    operations = FailingFolder(monkeypatch, 0, Killed())
    shard = open_shard(dataset)
    await shard.put(completions(0, 3))
    await shard.close(compact=True)
    assert operations.points == 0


async def test_equal_completion_is_not_stored_twice(dataset: Dataset) -> None:
    await append(dataset, completions(0, 3), completions(0, 3))
    assert file_kinds(dataset) == ["segment"]


async def test_newest_completion_wins(dataset: Dataset) -> None:
    texts = ["first", "second", "third"]
    for text in texts:
        shard = open_shard(dataset)
        await shard.put([completion(0, text), completion(1, "stays")])
        await shard.flush()
        assert await stored(dataset, range(2)) == [completion(0, text), completion(1, "stays")]
    assert view_rows(dataset) == expected_rows([completion(0, "third"), completion(1, "stays")])
    await open_shard(dataset).close(compact=True)
    assert await stored(dataset, range(1)) == [completion(0, "third")]


async def test_newest_wins_within_one_flush(dataset: Dataset) -> None:
    shard = open_shard(dataset)
    await shard.put([completion(0, "first"), completion(0, "second")])
    await shard.put([completion(0, "third")])
    assert await shard.get([key_of(0)]) == {key_of(0): completion(0, "third")}
    await shard.flush()
    assert await stored(dataset, range(1)) == [completion(0, "third")]


async def append_and_compact(dataset: Dataset) -> None:
    """Add two segments to a part with one old version, and merge all into the part."""
    shard = open_shard(dataset)
    await shard.put([completion(0, "new"), *completions(3, 6)])
    await shard.flush()
    await shard.put(completions(6, 9))
    await shard.flush()
    await shard.close(compact=True)


@pytest.mark.parametrize("survives", range(POINTS))
async def test_kill_between_file_operations(dataset: Dataset, survives: int) -> None:
    await append(dataset, [completion(0, "old"), *completions(1, 3)])
    await open_shard(dataset).close(compact=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        FailingFolder(monkeypatch, survives, Killed())
        with pytest.raises(Killed):
            await append_and_compact(dataset)

    # A segment exists from its second point on.
    has_first = survives >= 2
    has_second = survives >= 5
    expected = [completion(0, "new" if has_first else "old"), *completions(1, 3)]
    if has_first:
        expected += completions(3, 6)
    if has_second:
        expected += completions(6, 9)
    assert await stored(dataset, range(9)) == expected
    # Connecting takes most of the time of this test, and is the same in a bucket.
    if dataset.folder.is_local:
        assert view_rows(dataset) == expected_rows(expected)

    await append_and_compact(dataset)
    assert file_kinds(dataset) == ["part"]
    assert await stored(dataset, range(9)) == [completion(0, "new"), *completions(1, 9)]


async def test_all_points_were_killed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    await append(dataset, completions(0, 3))
    await open_shard(dataset).close(compact=True)
    operations = FailingFolder(monkeypatch, POINTS, Killed())
    await append_and_compact(dataset)
    assert operations.points == POINTS


# The part is written, and the segment removed.
POINTS_OF_MERGE = 3 + 2


@pytest.mark.parametrize("survives", range(POINTS_OF_MERGE))
async def test_kill_while_pending_is_merged(
    dataset: Dataset, survives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(dataset, completions(0, 3))
    shard = open_shard(dataset)
    await shard.put(completions(3, 6))
    operations = FailingFolder(monkeypatch, survives, Killed())
    with pytest.raises(Killed):
        await shard.close(compact=True)
    monkeypatch.undo()

    assert operations.points == survives + 1
    # The part exists from its second point on.
    expected = completions(0, 6 if survives >= 2 else 3)
    assert await stored(dataset, range(6)) == expected
    assert view_rows(dataset) == expected_rows(expected)


async def test_pending_completions_go_into_part(dataset: Dataset) -> None:
    await append(dataset, completions(0, 3))
    shard = open_shard(dataset)
    await shard.put(completions(3, 6))
    await shard.close(compact=True)
    assert file_kinds(dataset) == ["part"]
    assert await stored(dataset, range(6)) == completions(0, 6)


def test_killed_process_loses_last_interval(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    command = [sys.executable, "-c", KILLED_WRITER, dataset.uri]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert asyncio.run(stored(dataset, range(10))) == completions(0, 5)


async def test_timer_flushes_after_interval(dataset: Dataset) -> None:
    shard = CompletionStore(dataset, flush_seconds=0.02).shard(0, PROBLEMS)
    for start in (0, 3):
        await shard.put(completions(start, start + 3))
        # Long compared with the interval, because the machine can be busy.
        async with asyncio.timeout(30):
            while await stored(dataset, range(6)) != completions(0, start + 3):
                await asyncio.sleep(0.01)
    await shard.close(compact=False)
    assert file_kinds(dataset) == ["segment"] * 2


async def test_failed_timer_flush_keeps_rows(dataset: Dataset) -> None:
    shard = CompletionStore(dataset, flush_seconds=0.01).shard(0, PROBLEMS)
    await shard.get([key_of(0)])
    with pytest.MonkeyPatch.context() as monkeypatch:
        full = FailingFolder(monkeypatch, 0, DatasetError("cannot write: no space left"))
        await shard.put(completions(0, 3))
        async with asyncio.timeout(30):
            while full.points == 0:
                await asyncio.sleep(0.01)
        # The run ends at the next completion: memory does not grow without limit.
        with pytest.raises(DatasetError, match="no space left"):
            await put_until_error(shard)
        with pytest.raises(DatasetError, match="no space left"):
            await shard.close(compact=True)
        rows = await shard.get(keys_of(range(4)))
        assert list(rows.values()) == completions(0, 4)
    await shard.close(compact=True)
    assert await stored(dataset, range(4)) == completions(0, 4)


async def put_until_error(shard: store_module.ShardStore) -> None:
    # The background task notes its failure some moments after the operation failed.
    for _ in range(1000):
        await shard.put(completions(3, 4))
        await asyncio.sleep(0.01)


async def test_get_and_put_during_flush(dataset: Dataset) -> None:
    shard = open_shard(dataset)
    rows = completions(0, 400)

    async def put_and_get(start: int) -> None:
        for number in range(start, 400, 8):
            await shard.put([rows[number]])
            await asyncio.sleep(0)
            found = await shard.get([row.key for row in rows[start : number + 1 : 8]])
            assert list(found.values()) == rows[start : number + 1 : 8]

    async def flush_all_the_time() -> None:
        while True:
            await shard.flush()
            await asyncio.sleep(0)

    flusher = asyncio.create_task(flush_all_the_time())
    await asyncio.gather(*(put_and_get(start) for start in range(8)))
    flusher.cancel()
    await asyncio.wait([flusher])
    await shard.close(compact=True)
    assert file_kinds(dataset) == ["part"]
    assert await stored(dataset, range(400)) == rows


async def test_cancelled_flush_loses_nothing(dataset: Dataset) -> None:
    shard = open_shard(dataset)
    for number in range(20):
        await shard.put([completion(number)])
        flush = asyncio.create_task(shard.flush())
        await asyncio.sleep(0)
        flush.cancel()
        await asyncio.wait([flush])
    await shard.close(compact=True)
    assert file_kinds(dataset) == ["part"]
    assert len(await stored(dataset, range(20))) == 20


async def test_many_segments_are_merged_early(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MAX_SEGMENTS", 4)
    rows = completions(0, 14)
    shard = open_shard(dataset)
    for row in rows:
        await shard.put([row])
        await shard.flush()
        assert len(file_kinds(dataset)) <= 4
    assert await stored(dataset, range(14)) == rows


async def test_failed_completions_can_be_ignored(dataset: Dataset) -> None:
    def has_failed(row: StoredCompletion) -> bool:
        return row.finish_reason not in {"stop", "length"}

    failed = completion(0, "", "error: busy")
    await append(dataset, [failed, completion(1, finish="length")])
    assert await stored(dataset, range(1)) == [failed]

    retry = CompletionStore(dataset, flush_seconds=60, ignore=has_failed)
    shard = retry.shard(0, PROBLEMS)
    keys = [key_of(0), key_of(1)]
    assert list(await shard.get(keys)) == [key_of(1)]
    # The result of the retry counts, even if it failed again.
    failed_again = completion(0, "", "error: busy again")
    await shard.put([failed_again])
    assert (await shard.get(keys))[key_of(0)] == failed_again
    await shard.close(compact=True)
    assert (await shard.get(keys))[key_of(0)] == failed_again
    assert await stored(dataset, range(1)) == [failed_again]


async def test_equal_failure_is_not_ignored_again(dataset: Dataset) -> None:
    failed = completion(0, "", "error: busy")
    await append(dataset, [failed])
    shard = CompletionStore(dataset, ignore=lambda _: True).shard(0, PROBLEMS)
    assert await shard.get([failed.key]) == {}
    await shard.put([failed])
    assert await shard.get([failed.key]) == {failed.key: failed}
    await shard.close(compact=False)
