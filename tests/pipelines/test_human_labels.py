"""Labels of people survive other splits, other traces, other shards and kills."""

import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipelines.run import human_labels
from pipelines.run.job import Job
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.summary import summary_rows
from stepmark.errors import DatasetError, ReplacesError
from stepmark.records import (
    NO_ERROR,
    Annotation,
    StaleLabel,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.tables import (
    LABELS,
    STALE_LABELS,
    TRACES,
    Table,
    annotations,
    discovered,
)
from storage.dataset.verify import verify
from storage.labelling.carry_over import CUT, GONE, carry_over
from storage.queries.sql import query
from tests.pipelines.rows import counts_by_name
from tests.pipelines.simulated import Model, job_in, label, parts, run_in
from tests.pipelines.test_stages import drifting_model
from tests.storage.labelling.samples import human
from verifiers.isolation.pool import VerifierPool

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


# Runs: two shards of two problems, two traces each, and no engine but for the traces.
BASE: Mapping[str, Any] = {
    "generate": {"traces_per_problem": 2},
    "annotators": [{"use": "formal"}],
    "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
}
# After "=" in the middle of a line: the error of any line but the first is cut.
ACROSS: dict[str, Any] = {"generate": {"traces_per_problem": 2, "split": "regex:="}}
# A pattern that never matches: one step.
ONE_STEP: dict[str, Any] = {"generate": {"traces_per_problem": 2, "split": "regex:#"}}
OTHER_SEED: dict[str, Any] = {"seed": 2, "options": RunOptions(recompute=True)}

Made = Mapping[tuple[str, str], tuple[Annotation, Sequence[str]]]
"""The labels that people made and the steps that they saw, by method and trace id."""


async def run(
    folder: Path, workers: VerifierPool, model: Model | None = None, **changes: Any
) -> Job:
    options = {"options": RunOptions()}
    return await run_in(folder, workers, model or Model(), **{**BASE, **options, **changes})


def add_labels(
    dataset: Dataset, table: Table[Any] = TRACES, methods: Sequence[str] = ("human",)
) -> Made:
    """Label every trace of a table, with the first error at another step in each."""
    made = dict[tuple[str, str], tuple[Annotation, Sequence[str]]]()
    for method in methods:
        for shard in dataset.shards(table):
            rows = list[Annotation]()
            if shard in dataset.shards(annotations(method)):
                rows.extend(dataset.read_part(annotations(method), shard))
            for number, trace in enumerate(dataset.read_part(table, shard), len(method)):
                row = label_of(trace, method, number % (len(trace.steps) + 1) - 1)
                rows.append(row)
                made[method, trace.trace_id] = (row, trace.steps)
            dataset.write_part(annotations(method), shard, rows, "by hand")
    return made


def label_of(trace: Trace, method: str, first_error: int) -> Annotation:
    verdicts = [C] * len(trace.steps)
    if first_error != NO_ERROR:
        verdicts[first_error:] = [I, *[U] * (len(trace.steps) - first_error - 1)]
    row = human(first_error, *verdicts, confidence=0.75, fingerprint="by hand")
    return replace(row, trace_id=trace.trace_id, method=method)


def as_annotation(row: StaleLabel) -> Annotation:
    return Annotation(**{item.name: getattr(row, item.name) for item in fields(Annotation)})


def traces_of(dataset: Dataset) -> Mapping[str, Trace]:
    traces = dict[str, Trace]()
    tables: list[Table[Any]] = [TRACES, *map(discovered, dataset.methods("discovered"))]
    for table in tables:
        for trace in dataset.read(table):
            traces[trace.trace_id] = trace
    return traces


def check_nothing_lost(dataset: Dataset, made: Made, *, finished: bool = True) -> tuple[int, int]:
    """Check that every label exists and fits its trace; return how many are active and stale.

    Args:
        dataset: The dataset.
        made: The labels.
        finished: Whether the last run was complete. After a kill a label can be in two tables, and
            the trace in two shards.
    """
    active = dict[tuple[str, str], Annotation]()
    for method in {method for method, _ in made}:
        for row in dataset.read(annotations(method)):
            assert (method, row.trace_id) not in active, "a label is there twice"
            active[method, row.trace_id] = row
    stale = dict[tuple[str, str], StaleLabel]()
    for stale_row in dataset.read(STALE_LABELS):
        key = (stale_row.method, stale_row.trace_id)
        assert key not in stale or not finished, "a stale label is there twice"
        assert as_annotation(stale_row) == made[key][0]
        assert stale_row.step_texts == made[key][1]
        stale[key] = stale_row
    assert active.keys() | stale.keys() == made.keys()
    traces = traces_of(dataset)
    for key, row in active.items():
        original, steps = made[key]
        assert row == carry_over(original, steps, traces[key[1]].steps), "a label on other steps"
    if finished:
        for key, stale_row in stale.items():
            assert stale_row.is_carried_over == (key in active)
            if key[1] in traces and not stale_row.is_carried_over:
                assert stale_row.reason == carry_over(*made[key], traces[key[1]].steps)
        for key in active.keys() - stale.keys():
            assert made[key][1] == traces[key[1]].steps
    return len(active), len(stale.keys() - active.keys())


def summary(dataset: Dataset, job: Job) -> Mapping[str, str]:
    rows = summary_rows(dataset, Meter(), job.plan.run_file.prices)
    return counts_by_name(rows)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base") / "dataset"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base(base_folder: Path, workers: VerifierPool) -> Made:
    """A dataset of eight traces with labels by two people."""
    job = await run(base_folder, workers)
    return add_labels(job.dataset, methods=("human", "human_ann"))


@pytest.fixture
def folder(base: Made, base_folder: Path, tmp_path: Path) -> Path:
    """A copy of the dataset."""
    shutil.copytree(base_folder, tmp_path / "dataset")
    return tmp_path / "dataset"


module_loop = pytest.mark.asyncio(loop_scope="module")


@module_loop
async def test_unchanged_run_writes_nothing(
    folder: Path, base: Made, workers: VerifierPool
) -> None:
    before = parts(folder)
    await run(folder, workers)
    assert parts(folder) == before


@module_loop
@pytest.mark.parametrize("changes", [ACROSS, ONE_STEP], ids=["across", "one step"])
async def test_another_split_and_back(
    changes: dict[str, Any], folder: Path, base: Made, workers: VerifierPool
) -> None:
    job = await run(folder, workers, **changes)
    carried, set_aside = check_nothing_lost(job.dataset, base)
    assert carried
    assert bool(set_aside) == (changes is ACROSS)
    rows = summary(job.dataset, job)
    assert rows["human labels carried over"] == f"{carried}: made on other steps"
    if set_aside:
        expected = f"{set_aside}: {set_aside} because {CUT} (table stale_labels)"
        assert rows["human labels set aside"] == expected
    assert list(verify(job.dataset)) == []
    before = parts(folder)
    await run(folder, workers, **changes)
    assert parts(folder) == before

    job = await run(folder, workers)
    assert check_nothing_lost(job.dataset, base) == (len(base), 0)
    assert job.dataset.shards(STALE_LABELS) == ()
    assert not any(name.startswith("human labels") for name in summary(job.dataset, job))


@module_loop
async def test_splits_follow_each_other(folder: Path, base: Made, workers: VerifierPool) -> None:
    """A label that was carried over is carried over from the original, not from its copy."""
    for changes in (ONE_STEP, ACROSS, ONE_STEP):
        job = await run(folder, workers, **changes)
        check_nothing_lost(job.dataset, base)
    job = await run(folder, workers)
    assert check_nothing_lost(job.dataset, base) == (len(base), 0)


@module_loop
async def test_other_traces_set_labels_aside(
    folder: Path, base: Made, workers: VerifierPool
) -> None:
    with pytest.raises(ReplacesError, match=r"8 traces .* and have 16 human labels"):
        await run(folder, workers, seed=2)
    job = await run(folder, workers, **OTHER_SEED)
    assert check_nothing_lost(job.dataset, base) == (0, len(base))
    sql = "SELECT reason, count(*) AS n FROM stale_labels GROUP BY 1"
    assert query(job.dataset, sql).to_pylist() == [{"reason": GONE, "n": len(base)}]
    job = await run(folder, workers, options=RunOptions(recompute=True))
    assert check_nothing_lost(job.dataset, base) == (len(base), 0)


@module_loop
async def test_labels_move_with_their_traces(
    folder: Path, base: Made, workers: VerifierPool
) -> None:
    for problems_per_shard in (3, 4, 1):
        shards = {"problems_per_shard": problems_per_shard}
        job = await run(folder, workers, shards=shards, **ACROSS)
        check_nothing_lost(job.dataset, base)
        job = await run(folder, workers, shards=shards)
        assert check_nothing_lost(job.dataset, base) == (len(base), 0)
        assert list(verify(job.dataset)) == []


@module_loop
async def test_fewer_problems_and_more(folder: Path, base: Made, workers: VerifierPool) -> None:
    fewer: dict[str, Any] = {"use": "word_problems", "count": 1, "max_steps": 4}
    job = await run(folder, workers, problems=fewer, options=RunOptions(recompute=True))
    assert check_nothing_lost(job.dataset, base) == (4, 12)
    job = await run(folder, workers)
    assert check_nothing_lost(job.dataset, base) == (len(base), 0)


@module_loop
async def test_new_label_beside_older_ones(folder: Path, base: Made, workers: VerifierPool) -> None:
    """A person labels traces again whose label was set aside or carried over."""
    job = await run(folder, workers, **ACROSS)
    dataset = job.dataset
    shutil.rmtree(folder / "annotations" / "human")
    shutil.rmtree(folder / "annotations" / "human_ann")
    newer = add_labels(dataset, methods=("human",))
    everything = set[tuple[Annotation, Sequence[str]]]()
    for made in (base, newer):
        everything.update((row, tuple(steps)) for row, steps in made.values())
    for changes in (ACROSS, {}, ONE_STEP, ACROSS, OTHER_SEED, ACROSS | {"seed": 1}):
        options = {"options": RunOptions(recompute=True)}
        job = await run(folder, workers, **{**changes, **options})
        stored = set[tuple[Annotation, Sequence[str]]]()
        for row in dataset.read(STALE_LABELS):
            stored.add((as_annotation(row), row.step_texts))
        traces = traces_of(dataset)
        keys = list[tuple[str, str]]()
        for method in ("human", "human_ann"):
            for label_row in dataset.read(annotations(method)):
                steps = traces[label_row.trace_id].steps
                assert len(steps) == len(label_row.steps)
                stored.add((label_row, steps))
                keys.append((method, label_row.trace_id))
        assert len(keys) == len(set(keys))
        assert everything <= stored, "a label was dropped"
    # The newer label of a trace is the one in use.
    for label_row in dataset.read(annotations("human")):
        assert label_row == newer["human", label_row.trace_id][0]
    reasons = {row.reason for row in dataset.read(STALE_LABELS) if row.method == "human"}
    assert human_labels.OTHER_LABEL in reasons


SEARCH: dict[str, Any] = {
    "annotators": [{"use": "tree_search", "rollouts": 4, "searches": 4}],
    "generate": {"traces_per_problem": 4},
    "problems": {"use": "word_problems", "count": 2, "max_steps": 4},
}


@module_loop
async def test_labels_of_discovered_traces(tmp_path: Path, workers: VerifierPool) -> None:
    job = await run(tmp_path, workers, drifting_model(), **SEARCH)
    dataset = job.dataset
    made = add_labels(dataset, discovered("tree_search"))
    assert len(made) > 1
    fewer: dict[str, Any] = {"annotators": [{"use": "tree_search", "rollouts": 4, "searches": 1}]}
    one_step = {"generate": {"traces_per_problem": 4, "split": "regex:#"}}
    for changes in (one_step, fewer):
        await run(tmp_path, workers, drifting_model(), **{**SEARCH, **changes})
        check_nothing_lost(dataset, made)
        await run(tmp_path, workers, drifting_model(), **SEARCH)
        assert check_nothing_lost(dataset, made) == (len(made), 0)
    # `stepmark label` can make other discovered traces too.
    for changes in (fewer, SEARCH):
        tables: dict[str, Any] = {**BASE, **SEARCH, **changes, "options": RunOptions()}
        await label(job_in(tmp_path, workers, drifting_model(), **tables))
        active, _ = check_nothing_lost(dataset, made)
        assert (active == len(made)) == (changes is SEARCH)


@module_loop
async def test_lost_traces_keep_their_labels(
    folder: Path, base: Made, workers: VerifierPool
) -> None:
    """A damaged part of traces was deleted, as the error message advises."""
    (folder / "traces" / "part-00000.parquet").unlink()
    job = await run(folder, workers)
    assert check_nothing_lost(job.dataset, base) == (len(base), 0)
    # The shard is removed while its traces are lost: the steps are not known any more.
    (folder / "traces" / "part-00001.parquet").unlink()
    fewer: dict[str, Any] = {"use": "word_problems", "count": 1, "max_steps": 4}
    job = await run(folder, workers, problems=fewer, options=RunOptions(recompute=True))
    rows = list(job.dataset.read(STALE_LABELS))
    assert len(rows) == 12
    assert {len(row.step_texts) > 0 for row in rows} == {True, False}


@module_loop
async def test_damaged_labels_are_not_replaced(
    folder: Path, base: Made, workers: VerifierPool
) -> None:
    path = folder / "annotations" / "human" / "part-00000.parquet"
    path.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="labels of people cannot be made again"):
        await run(folder, workers, **ACROSS)
    assert path.read_bytes() == b"damaged"
    findings = [finding for finding in verify(Dataset(str(folder))) if "human" in finding.path]
    assert "replace it by a copy" in findings[0].remedy
    assert findings[0].damaged_part is None, "`--delete-damaged` must not delete it"


@module_loop
async def test_gold_may_lack_a_shard(folder: Path, base: Made, workers: VerifierPool) -> None:
    (folder / "annotations" / "human" / "part-00001.parquet").unlink()
    annotators = [{"use": "formal"}, {"use": "monte_carlo", "rollouts": 2}]
    changes: dict[str, Any] = {"label": {"use": "fusion", "gold": "human"}}
    job = await run(folder, workers, annotators=annotators, **changes)
    assert job.dataset.count(LABELS) == len(traces_of(job.dataset))


class KilledError(Exception):
    """The simulated kill of a run: no part is written after it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return a function that sets how many parts can be written before all writes fail."""
    writing = Folder.writing
    remove = Folder.remove
    state = {"left": 1_000_000}

    def count(path: str) -> None:
        # Between other writes nothing changes that concerns labels of people.
        if path.startswith(("traces/", "annotations/human", "stale_labels/")):
            state["left"] -= 1
        if state["left"] < 0:
            raise KilledError

    def counted_writing(self: Folder, path: str) -> Any:
        count(path)
        return writing(self, path)

    def counted_remove(self: Folder, path: str) -> None:
        if self.has(path):
            count(path)
        remove(self, path)

    monkeypatch.setattr(Folder, "writing", counted_writing)
    monkeypatch.setattr(Folder, "remove", counted_remove)

    def set_limit(writes: int | None) -> None:
        state["left"] = 1_000_000 if writes is None else writes

    return set_limit


ONE_PROBLEM: dict[str, Any] = {"problems": {"use": "word_problems", "count": 1, "max_steps": 4}}
# Two problems that move from two shards to one.
TWO_SHARDS: dict[str, Any] = {
    "problems": {"use": "word_problems", "count": 2, "max_steps": 4},
    "shards": {"problems_per_shard": 1},
}
ONE_SHARD = {**TWO_SHARDS, "shards": {"problems_per_shard": 2}}


@module_loop
@pytest.mark.parametrize(
    ("first", "killed", "then"),
    [
        (ONE_PROBLEM, ONE_PROBLEM | ACROSS, ONE_PROBLEM | ACROSS),
        (ONE_PROBLEM, ONE_PROBLEM | ACROSS, ONE_PROBLEM),
        (ONE_PROBLEM, ONE_PROBLEM | ACROSS, ONE_PROBLEM | ONE_STEP),
        (TWO_SHARDS, ONE_SHARD, TWO_SHARDS | ACROSS),
    ],
    ids=["continued", "undone", "third split", "moved"],
)
async def test_kill_between_any_two_writes(
    first: dict[str, Any],
    killed: dict[str, Any],
    then: dict[str, Any],
    tmp_path: Path,
    workers: VerifierPool,
    kill_at: Callable[[int | None], None],
) -> None:
    start = tmp_path / "start"
    job = await run(start, workers, **first)
    made = add_labels(job.dataset, methods=("human", "human_ann"))
    results = set[tuple[int, int]]()
    is_killed = True
    writes = 0
    while is_killed:
        folder = tmp_path / f"kill-{writes}"
        shutil.copytree(start, folder)
        dataset = Dataset(str(folder))
        kill_at(writes)
        try:
            await run(folder, workers, **killed)
            is_killed = False
        except KilledError:
            writes += 1
        kill_at(None)
        check_nothing_lost(dataset, made, finished=not is_killed)
        await run(folder, workers, **then)
        results.add(check_nothing_lost(dataset, made))
    # Each table is written at least once before the traces and once after.
    assert writes >= 7
    assert len(results) == 1, "the result does not depend on the kill"
