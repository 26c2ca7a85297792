"""Damaged and missing parts: a run makes them again, from stored completions."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from engines.base import Prompt
from pipelines.run.options import RunOptions
from stepmark.errors import EngineError
from stepmark.records import Sampling
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, Table, annotations, critiques, rollouts
from storage.dataset.verify import verify
from tests.columns import column
from tests.pipelines.simulated import Model, changed_parts, parts, run_in
from verifiers.isolation.pool import VerifierPool

CAREFUL = RunOptions()
"""The options of a plain `stepmark run`."""
DAMAGED_SHARD = 1

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_run(tmp_path_factory: pytest.TempPathFactory, workers: VerifierPool) -> Path:
    folder = tmp_path_factory.mktemp("first") / "data"
    await run_in(folder, workers, Model(), options=CAREFUL)
    return folder


@pytest.fixture
def done(tmp_path: Path, first_run: Path) -> Path:
    """A folder with a finished run."""
    return Path(shutil.copytree(first_run, tmp_path / "data"))


def contents(folder: Path) -> Mapping[str, tuple[str, str] | None]:
    """Return the part key and the digest of the rows of every part; None for an unreadable one."""
    dataset = Dataset(str(folder))
    digests = dict[str, tuple[str, str] | None]()
    for table in dataset.tables():
        for shard in dataset.shards(table):
            footer = dataset.footer(table, shard)
            digests[dataset.path(table, shard)] = None
            if footer is not None:
                digests[dataset.path(table, shard)] = (footer.part_key, footer.content)
    return digests


# Each of these damages a part of a table in another way.
def truncate(folder: Path, table: Table[Any], path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(folder: Path, table: Table[Any], path: Path) -> None:
    path.write_bytes(b"")


def delete(folder: Path, table: Table[Any], path: Path) -> None:
    path.unlink()


def write_garbage(folder: Path, table: Table[Any], path: Path) -> None:
    path.write_bytes(b"PAR1" + b"\x00garbage" * 100 + b"PAR1")


def write_foreign(folder: Path, table: Table[Any], path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), path)


def drop_column(folder: Path, table: Table[Any], path: Path) -> None:
    rows = pq.read_table(path)
    pq.write_table(rows.drop_columns([rows.column_names[-1]]), path)


def drop_row(folder: Path, table: Table[Any], path: Path) -> None:
    """Write a part with a correct footer of the same part key, and a row less."""
    dataset = Dataset(str(folder))
    footer = dataset.footer(table, DAMAGED_SHARD)
    assert footer is not None
    records = list(dataset.read_part(table, DAMAGED_SHARD))
    dataset.write_part(table, DAMAGED_SHARD, records[1:], footer.part_key)


def write_other_key(folder: Path, table: Table[Any], path: Path) -> None:
    """Write the rows of the other shard, as a part with another part key."""
    dataset = Dataset(str(folder))
    dataset.write_part(table, DAMAGED_SHARD, dataset.read_part(table, 0), "another key")


HARMS: Sequence[Callable[[Path, Table[Any], Path], None]] = (
    truncate,
    empty,
    delete,
    write_garbage,
    write_foreign,
    drop_column,
    drop_row,
    write_other_key,
)


@pytest.mark.parametrize("harm", HARMS)
async def test_damaged_evidence_is_restored(
    harm: Callable[[Path, Table[Any], Path], None], done: Path, workers: VerifierPool
) -> None:
    """Nothing is requested, and no other part is written."""
    before = contents(done)
    states = parts(done)
    dataset = Dataset(str(done))
    tables: Sequence[Table[Any]] = (rollouts("monte_carlo"), critiques("judge"))
    damaged = set[str]()
    for table in tables:
        path = dataset.path(table, DAMAGED_SHARD)
        damaged |= {path, dataset.path(annotations(str(table.method)), DAMAGED_SHARD)}
        harm(done, table, done / path)
    assert {finding.path for finding in verify(dataset)} <= damaged
    assert list(verify(dataset)), "it is noticed without a run, too"

    model = Model()
    await run_in(done, workers, model, options=CAREFUL)
    assert model.requests == []
    assert contents(done) == before
    assert changed_parts(states, parts(done)) == damaged
    assert list(verify(dataset)) == []


@pytest.mark.parametrize("harm", [truncate, delete, drop_row])
async def test_damaged_tables_are_restored(
    harm: Callable[[Path, Table[Any], Path], None], done: Path, workers: VerifierPool
) -> None:
    """Traces, annotations or labels: the run makes equal ones without a request."""
    before = contents(done)
    dataset = Dataset(str(done))
    for table in (LABELS, annotations("formal"), TRACES):
        harm(done, table, done / dataset.path(table, DAMAGED_SHARD))
        # A shard without labels is a run that has not ended.
        assert list(verify(dataset)) or harm is delete, table
        if harm is drop_row:
            # A run trusts the key of a part: the message of `verify` says to delete it.
            delete(done, table, done / dataset.path(table, DAMAGED_SHARD))
        model = Model()
        await run_in(done, workers, model, options=CAREFUL)
        assert model.requests == []
        assert contents(done) == before, table


async def test_labels_follow_other_annotations(done: Path, workers: VerifierPool) -> None:
    """An engine that does not repeat itself makes other annotations: the labels are made again."""
    dataset = Dataset(str(done))
    earlier = list(dataset.read(annotations("monte_carlo")))
    shutil.rmtree(done / "completions")
    for shard in dataset.shards(TRACES):
        delete(done, LABELS, done / dataset.path(annotations("monte_carlo"), shard))
    await run_in(done, workers, Model(skill=0.0), options=CAREFUL)
    now = list(dataset.read(annotations("monte_carlo")))
    assert column(now, "first_error") != column(earlier, "first_error")
    labels = list(dataset.read(LABELS))
    for shard in dataset.shards(LABELS):
        dataset.remove_part(LABELS, shard)
    await run_in(done, workers, Model(), options=CAREFUL)
    assert list(dataset.read(LABELS)) == labels


async def test_short_slices_make_progress(tmp_path: Path, workers: VerifierPool) -> None:
    """A run that ends after a few answers, again and again, requests no sample twice."""
    answers_per_slice = 5
    requested = list[tuple[Prompt, Sampling]]()
    slices = 0
    while True:
        slices += 1
        model = Model()

        def die(prompt: Prompt, sampling: Sampling, index: int, model: Model = model) -> str:
            if len(model.requests) > answers_per_slice:
                raise EngineError("killed", retryable=True)
            return ""

        model.before = die
        try:
            job = await run_in(tmp_path / "data", workers, model, options=CAREFUL)
        except EngineError:
            requested.extend(model.requests[:answers_per_slice])
            continue
        requested.extend(model.requests)
        break
    assert len(requested) == len(set(requested))
    assert slices == -(-len(requested) // answers_per_slice)
    assert job.dataset.count(LABELS) == job.dataset.count(TRACES)
