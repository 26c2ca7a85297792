"""Measure the size and the speed of the store of completions; `README.md` describes it."""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.console import print_json, print_progress
from benchmarks.common.targets import MISSED, compare_with_target, worst_verdict
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, StoredCompletion
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.queries.sql import query

__all__ = ["main"]

# Different from the problems of the demo and of the tests.
PROBLEM_SEED = 30_000
PROBLEMS = 64
"""Problems of one shard, as in a run."""
ROWS_PER_SHARD = 2000
SAMPLES = 8
"""Samples of one request."""
# A model changes numbers more often than words.
CHANGED_DIGITS = 0.3
# Characters of a short text, such as the end of a solution.
SHORT = (20, 30, 40)
# The flushes of one shard before it is compacted.
FLUSHES = 10
LOOKUPS = 20_000
# The targets; see docs/benchmarks.md.
MAX_SIZE_RATIO = 1.3
MAX_OPEN_SECONDS = 10.0
MAX_MEMORY_MIB = 1024
MAX_LOOKUP_MICROSECONDS = 100.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A kind of texts and requests."""

    name: str
    is_short: bool
    samples: int


SHAPES = (
    Shape(name="solutions", is_short=False, samples=SAMPLES),
    Shape(name="solutions, one sample per request", is_short=False, samples=1),
    Shape(name="short texts", is_short=True, samples=SAMPLES),
    Shape(name="short texts, one sample per request", is_short=True, samples=1),
)


class Writer:
    """Completions that look like those of the pocket model."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._rng = random.Random(seed)
        source = WordProblems(count=PROBLEMS, seed=PROBLEM_SEED + seed)
        self._golds = list[str]()
        for row in source.problems():
            if isinstance(row, Problem):
                self._golds.append(row.metadata["gold"])

    def request(self) -> Sequence[StoredCompletion]:
        """Return the completions of one request."""
        rng = self._rng
        gold = rng.choice(self._golds)
        seed = rng.randrange(2**43) * 1024
        rows = []
        for index in range(self._shape.samples):
            text = self._text(gold)
            prompt_tokens = 0
            if index == 0:
                prompt_tokens = rng.randrange(80, 200)
            row = StoredCompletion(
                key=rng.randbytes(16),
                model="stepmark/pocket",
                seed=seed + index,
                text=text,
                finish_reason="stop",
                prompt_tokens=prompt_tokens,
                cached_tokens=0,
                generated_tokens=len(text) // 3 + rng.randrange(5),
            )
            rows.append(row)
        return rows

    def shard(self, rows: int) -> Sequence[Sequence[StoredCompletion]]:
        """Return the completions of a shard by request."""
        return [self.request() for _ in range(rows // self._shape.samples)]

    def _text(self, gold: str) -> str:
        # A rollout continues a prefix, so it is the end of a solution.
        lines = gold.splitlines(keepends=True)
        text = "".join(lines[self._rng.randrange(len(lines)) :])
        letters = []
        for letter in text:
            if letter.isdigit() and self._rng.random() < CHANGED_DIGITS:
                letter = self._rng.choice("0123456789")
            letters.append(letter)
        text = "".join(letters)
        if self._shape.is_short:
            text = text[-self._rng.choice(SHORT) :]
        return text


async def write_shard(
    store: CompletionStore, shard: int, requests: Sequence[Sequence[StoredCompletion]], flushes: int
) -> Mapping[str, float]:
    """Store the completions with some flushes, compact them, and return the seconds of each."""
    seconds = {"put": 0.0, "flush": 0.0, "compact": 0.0}
    problem_ids = [f"{shard:08x}{problem:08x}" for problem in range(PROBLEMS)]
    opened = store.shard(shard, problem_ids)
    per_flush = -(-len(requests) // flushes)
    for start in range(0, len(requests), per_flush):
        started = time.perf_counter()
        for completions in requests[start : start + per_flush]:
            await opened.put(completions)
        put = time.perf_counter()
        await opened.flush()
        seconds["put"] += put - started
        seconds["flush"] += time.perf_counter() - put
    started = time.perf_counter()
    await opened.close(compact=True)
    seconds["compact"] += time.perf_counter() - started
    return seconds


def measure_size(shape: Shape) -> Mapping[str, Any]:
    """Write one shard and compare the size of its file with that of its texts."""
    requests = Writer(shape, seed=0).shard(ROWS_PER_SHARD)
    text_bytes = 0
    rows = 0
    for completions in requests:
        for row in completions:
            text_bytes += len(row.text.encode())
            rows += 1
    with tempfile.TemporaryDirectory() as folder:
        seconds = asyncio.run(write_shard(CompletionStore(Dataset(folder)), 0, requests, FLUSHES))
        stored_bytes = _size(Path(folder))
    milliseconds = {}
    for name, duration in seconds.items():
        milliseconds[f"{name}_ms_per_1000"] = round(1000 * duration / rows * 1000, 2)
    return {
        "texts": shape.name,
        "characters": round(text_bytes / rows, 1),
        "bytes_per_row": round(stored_bytes / rows, 1),
        **milliseconds,
        "size_per_text": compare_with_target(
            round(stored_bytes / text_bytes, 3), most=MAX_SIZE_RATIO
        ),
    }


async def fill(folder: str, rows: int) -> None:
    """Write a store of compacted shards."""
    store = CompletionStore(Dataset(folder))
    shards = -(-rows // ROWS_PER_SHARD)
    # Writing texts takes longer than storing them, so the shards share them under different keys.
    requests = Writer(SHAPES[0], seed=0).shard(ROWS_PER_SHARD)
    rng = random.Random(0)
    for shard in range(shards):
        renamed = [[_with_key(row, rng.randbytes(16)) for row in group] for group in requests]
        await write_shard(store, shard, renamed, 1)


def _with_key(row: StoredCompletion, key: bytes) -> StoredCompletion:
    return row._replace(key=key)


async def read(folder: str) -> Mapping[str, Any]:
    """Open the store as a resumed run does, look up completions, and query the view."""
    dataset = Dataset(folder)
    shards = len(dataset.folder.files("completions"))
    imported_mib = _peak_memory_mib()
    started = time.perf_counter()
    store = CompletionStore(dataset)
    store.open()
    open_seconds = time.perf_counter() - started
    opened_mib = _peak_memory_mib()
    shard = store.shard(0, ())
    started = time.perf_counter()
    await shard.get([])
    load_seconds = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(shards):
        await store.shard(number, ()).get([])
    load_all_seconds = time.perf_counter() - started
    loaded_mib = _peak_memory_mib()

    shard_keys = query(dataset, "SELECT key FROM completions")["key"].to_pylist()
    rng = random.Random(1)
    keys = rng.choices(shard_keys, k=LOOKUPS)
    hits, missing_us, found_us = await _time_lookups(shard, keys)
    started = time.perf_counter()
    text_bytes = query(dataset, "SELECT sum(strlen(text))::BIGINT AS size FROM completions")
    view_seconds = time.perf_counter() - started
    return {
        "open_seconds": open_seconds,
        "imported_mib": imported_mib,
        "opened_mib": opened_mib,
        "load_shard_ms": 1000 * load_seconds,
        "load_all_seconds": load_all_seconds,
        "loaded_mib": loaded_mib,
        "lookup_us": found_us,
        "missing_us": missing_us,
        "hits": hits,
        "view_seconds": view_seconds,
        "text_bytes": text_bytes["size"][0].as_py(),
    }


async def _time_lookups(shard: Any, keys: Sequence[bytes]) -> tuple[int, float, float]:
    """Return the number of hits and the microseconds of a missing and of a found key."""
    found = await shard.get(keys)
    hit_keys = list(found)
    missing_keys = [key for key in keys if key not in found]
    per_key = []
    for group in (missing_keys, hit_keys):
        started = time.perf_counter()
        for key in group:
            await shard.get([key])
        per_key.append(1e6 * (time.perf_counter() - started) / max(1, len(group)))
    return len(hit_keys), per_key[0], per_key[1]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _peak_memory_mib() -> int:
    # Linux reports KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measure_resume(rows: int) -> Mapping[str, Any]:
    """Write a large store, and read it in a new process, whose memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        print_progress(f"writing {rows} completions")
        started = time.perf_counter()
        asyncio.run(fill(folder, rows))
        fill_seconds = time.perf_counter() - started
        files = len(list(Path(folder, "completions").iterdir()))
        stored_bytes = _size(Path(folder))
        print_progress(f"reading {files} files of {stored_bytes >> 20} MiB")
        command = [sys.executable, "-m", "benchmarks.completions", "--read", folder]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    measured: dict[str, Any] = json.loads(output)
    text_bytes = measured.pop("text_bytes")
    for name, value in measured.items():
        measured[name] = round(value, 3)
    return {
        "rows": rows,
        "files": files,
        "mib": round(stored_bytes / 2**20, 1),
        "write_ms_per_1000": round(1e6 * fill_seconds / rows, 2),
        **measured,
        "size_per_text": compare_with_target(
            round(stored_bytes / text_bytes, 3), most=MAX_SIZE_RATIO
        ),
        "open_seconds": compare_with_target(measured["open_seconds"], most=MAX_OPEN_SECONDS),
        "opened_mib": compare_with_target(measured["opened_mib"], most=MAX_MEMORY_MIB),
        "lookup_us": compare_with_target(measured["lookup_us"], most=MAX_LOOKUP_MICROSECONDS),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.completions", description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="number of completions in the large store"
    )
    parser.add_argument("--read", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print JSON; the exit status is 1 if a target is missed."""
    options = _options()
    if options.read is not None:
        print_json(asyncio.run(read(options.read)))
        return
    sizes = []
    for shape in SHAPES:
        measured = measure_size(shape)
        print_progress(_size_line(measured))
        sizes.append(measured)
    resume = measure_resume(options.rows)
    verdicts = [measured["size_per_text"]["verdict"] for measured in sizes]
    for name in ("size_per_text", "open_seconds", "opened_mib", "lookup_us"):
        comparison = resume[name]
        verdicts.append(comparison["verdict"])
        print_progress(f"{name:14} {comparison['value']:10.3f}  {comparison['verdict']}")
    print_json({"sizes": sizes, "resume": resume})
    if worst_verdict(verdicts) == MISSED:
        raise SystemExit(1)


def _size_line(measured: Mapping[str, Any]) -> str:
    ratio = measured["size_per_text"]
    return (
        f"{measured['texts']:36} {measured['characters']:6.1f} characters"
        f" {measured['bytes_per_row']:6.1f} bytes  {ratio['value']:.3f}  {ratio['verdict']}"
    )


if __name__ == "__main__":
    main()
