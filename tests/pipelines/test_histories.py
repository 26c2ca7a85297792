"""Sequences of changed run files, interruptions and faults of engines on one dataset.

After every completed run the tables are those of a run into a new folder, and no sample is
requested that an earlier run has stored.
"""

import json
import math
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import pytest_asyncio

from engines.base import Completion, EngineWrapper, Prompt, Scored, completion_keys, score_key
from pipelines.run.engine_pool import EnginePool
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from stepmark.errors import DatasetError, EngineError, ReplacesError
from stepmark.records import Annotation, Cost, Sampling, StepAnnotation, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.tables import STALE_LABELS, TRACES, annotations, is_made_by_people, rollouts
from storage.dataset.verify import verify
from tests.columns import column
from tests.pipelines.simulated import Model, is_judging, job_in, run
from verifiers.isolation.pool import VerifierPool

CAREFUL = RunOptions()
"""The options of a plain `stepmark run`."""
RECOMPUTE = RunOptions(recompute=True)
FIXTURE = Path(__file__).with_name("data") / "dataset_26a14a6"
LABEL = {"use": "consensus", "rule": "majority", "min_agreeing": 1}
SMALL: Mapping[str, Any] = {
    "problems": {"use": "word_problems", "count": 2, "max_steps": 4},
    "generate": {"traces_per_problem": 2},
    "annotators": [{"use": "monte_carlo", "rollouts": 2}, {"use": "judge"}, {"use": "formal"}],
    "label": LABEL,
    "shards": {"problems_per_shard": 1},
}
# Each of these is a change of one table; a history takes them in a random order.
CHANGES: Sequence[Mapping[str, Any]] = (
    {"seed": 2},
    {"seed": 1},
    {"generate": {"traces_per_problem": 3}},
    {"generate": {"traces_per_problem": 2, "split": "sentence"}},
    {"generate": {"traces_per_problem": 2, "temperature": 0.7}},
    {"problems": {"use": "word_problems", "count": 3, "max_steps": 4}},
    {"problems": {"use": "word_problems", "count": 1, "max_steps": 4}},
    {"shards": {"problems_per_shard": 2}},
    {"shards": {"problems_per_shard": 3}},
    {"annotators": [{"use": "judge", "votes": 2}, {"use": "formal"}]},
    {"annotators": [{"use": "monte_carlo", "rollouts": 3}, {"use": "tree_search"}]},
    {"annotators": [{"use": "monte_carlo", "name": "renamed", "rollouts": 2}]},
    {"label": {"use": "fusion"}},
    {"label": None},
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


Change = Callable[[Prompt, Sampling, Sequence[Completion]], Sequence[Completion]]


@dataclass(frozen=True, kw_only=True)
class Counted(EngineWrapper):
    """An engine that counts the samples it returned, and changes them."""

    returned: Counter[bytes] = field(default_factory=Counter)
    change: Change | None = None
    change_score: Callable[[Scored], Scored] | None = None

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        completions = await self.engine.complete(prompt, sampling)
        if self.change is not None:
            completions = self.change(prompt, sampling, completions)
        self.returned.update(completion_keys(self.identity, prompt, sampling)[: len(completions)])
        return completions

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        scored = await self.engine.score(prompt, continuation)
        self.returned[score_key(self.identity, prompt, continuation)] += 1
        return scored if self.change_score is None else self.change_score(scored)


def counted_job(
    folder: Path | str,
    workers: VerifierPool,
    returned: Counter[bytes],
    *,
    options: RunOptions = CAREFUL,
    change: Change | None = None,
    change_score: Callable[[Scored], Scored] | None = None,
    **tables: Any,
) -> Job:
    """Return a job of the small run file; see `simulated.job_in`."""
    job = job_in(Path(folder), workers, Model(), options=options, **{**SMALL, **tables})
    engines = dict[str, Any]()
    for name, engine in job.plan.engines.items():
        engines[name] = Counted(
            engine=engine, returned=returned, change=change, change_score=change_score
        )
    return replace(
        job,
        plan=job.plan.with_engines(EnginePool(engines)),
        dataset=Dataset(str(folder)),
    )


def rows_of(dataset: Dataset) -> Mapping[str, Sequence[Any]]:
    """Return the rows of all parts that no person made, without times and prompt tokens.

    A run that requests only the missing samples of a prompt reads the prompt again.
    """
    rows = dict[str, Sequence[Any]]()
    for table in dataset.tables():
        if is_made_by_people(table):
            continue
        for shard in dataset.shards(table):
            rows[dataset.path(table, shard)] = [
                without_costs(row) for row in dataset.read_part(table, shard)
            ]
    return rows


def without_costs(row: Any) -> Any:
    if isinstance(row, Annotation):
        return replace(row, cost=Cost())
    if hasattr(row, "prompt_tokens"):
        return replace(row, prompt_tokens=0)
    return row


def label_traces(dataset: Dataset) -> Mapping[str, Sequence[str]]:
    """Write human labels for all traces of the first shard; return the steps by trace id."""
    rows = list[Annotation]()
    labelled = dict[str, Sequence[str]]()
    for trace in dataset.read_part(TRACES, 0):
        steps = (StepAnnotation(verdict=Verdict.INCORRECT),) * len(trace.steps)
        rows.append(Annotation(trace_id=trace.trace_id, method="human", first_error=0, steps=steps))
        labelled[trace.trace_id] = trace.steps
    dataset.write_part(annotations("human"), 0, rows, "by hand")
    return labelled


def check_human_labels(dataset: Dataset, labelled: Mapping[str, Sequence[str]]) -> None:
    """Check that every human label belongs to the steps that it was made on, or is stale."""
    steps_of = {trace.trace_id: trace.steps for trace in dataset.read(TRACES)}
    current = {row.trace_id: row for row in dataset.read(annotations("human"))}
    stale = {(row.trace_id, row.step_texts) for row in dataset.read(STALE_LABELS)}
    for trace_id, steps in labelled.items():
        if steps_of.get(trace_id) == steps:
            assert current[trace_id].first_error == 0
        else:
            assert (trace_id, steps) in stale


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_histories_equal_new_runs(
    seed: int, tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "data"
    returned = Counter[bytes]()
    tables = dict[str, Any]()
    await run(counted_job(folder, workers, returned))
    labelled = label_traces(Dataset(str(folder)))
    for number in range(2):
        tables.update(chance.choice(CHANGES))
        job = counted_job(folder, workers, returned, options=RECOMPUTE, **tables)
        # A run with fewer writes is not interrupted.
        with interrupted(chance.randrange(30), monkeypatch), suppress(InterruptedWriteError):
            await run(job)
        job = await run(counted_job(folder, workers, returned, options=RECOMPUTE, **tables))
        assert max(returned.values()) == 1
        other = counted_job(tmp_path / f"new{number}", workers, Counter(), **tables)
        expected = rows_of((await run(other)).dataset)
        rows = rows_of(job.dataset)
        assert {path: rows.get(path) for path in expected} == expected
        assert list(verify(job.dataset)) == []
        check_human_labels(job.dataset, labelled)


class InterruptedWriteError(DatasetError):
    """A write that a test makes fail."""


@contextmanager
def interrupted(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail one write of a table's part, after a number of writes."""
    original = Folder.writing
    remaining = writes

    @contextmanager
    def writing(folder: Folder, path: str) -> Iterator[BinaryIO]:
        nonlocal remaining
        with original(folder, path) as file:
            yield file
            # The completions of a failed write are lost, and would be requested again.
            if not path.startswith("completions/"):
                remaining -= 1
                if remaining == -1:
                    raise InterruptedWriteError

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "writing", writing)
        yield


async def test_short_answers_are_completed(tmp_path: Path, workers: VerifierPool) -> None:
    """A server that returns one sample at a time gives the tables of one that returns all."""
    returned = Counter[bytes]()
    job = await run(
        counted_job(tmp_path / "a", workers, returned, change=lambda _, __, texts: texts[:1])
    )
    whole = Counter[bytes]()
    expected = await run(counted_job(tmp_path / "b", workers, whole))
    assert rows_of(job.dataset) == rows_of(expected.dataset)
    assert returned == whole


@pytest.mark.parametrize("factor", [0, 2])
async def test_unusable_answers_are_engine_errors(
    factor: int, tmp_path: Path, workers: VerifierPool
) -> None:
    job = counted_job(tmp_path, workers, Counter(), change=lambda _, __, texts: [*texts] * factor)
    with pytest.raises(EngineError, match=r"the engine returned \d instead of 2 completions"):
        await run(job)


async def test_rejected_addition_keeps_traces(tmp_path: Path, workers: VerifierPool) -> None:
    before = await run(counted_job(tmp_path, workers, Counter()))
    steps_of = {trace.trace_id: trace.steps for trace in before.dataset.read(TRACES)}
    question = Model().problems[0].question

    def reject(prompt: Prompt, sampling: Sampling, texts: Sequence[Completion]) -> Any:
        if question in prompt.user:
            raise EngineError("too long", retryable=False)
        return texts

    added = {"traces_per_problem": 3}
    job = await run(counted_job(tmp_path, workers, Counter(), change=reject, generate=added))
    traces = {trace.trace_id: trace.steps for trace in job.dataset.read(TRACES)}
    assert {trace_id: traces[trace_id] for trace_id in steps_of} == steps_of
    assert list(traces.values()).count(()) == 1


async def test_equal_texts_are_scored_once(tmp_path: Path, workers: VerifierPool) -> None:
    def same_text(prompt: Prompt, sampling: Sampling, texts: Sequence[Completion]) -> Any:
        return [replace(text, text="1 + 1 = 2\nThe answer is 2.") for text in texts]

    returned = Counter[bytes]()
    await run(
        counted_job(
            tmp_path,
            workers,
            returned,
            change=same_text,
            annotators=[{"use": "answer_likelihood"}],
        )
    )
    assert max(returned.values()) == 1


@pytest.mark.parametrize("numbers", [(), (math.nan,)], ids=["none", "nan"])
async def test_unusable_scores_are_not_stored(
    numbers: tuple[float, ...], tmp_path: Path, workers: VerifierPool
) -> None:
    scores: Any = {"annotators": [{"use": "answer_likelihood"}]}
    folder = tmp_path / "a"
    await run(
        counted_job(
            folder,
            workers,
            Counter(),
            change_score=lambda scored: replace(scored, logprobs=numbers),
            **scores,
        )
    )
    shutil.rmtree(folder / "annotations")
    job = await run(counted_job(folder, workers, Counter(), **scores))
    expected = await run(counted_job(tmp_path / "b", workers, Counter(), **scores))
    assert rows_of(job.dataset) == rows_of(expected.dataset)


async def test_unusual_texts_are_stored_unchanged(tmp_path: Path, workers: VerifierPool) -> None:
    texts = ["a\0b = 1\nThe answer is 1.", "\ud800 lone\nThe answer is \udfff.", "x" * 10**6, ""]

    def unusual(prompt: Prompt, sampling: Sampling, samples: Sequence[Completion]) -> Any:
        if is_judging(prompt) or prompt.prefix:
            return samples
        return [replace(sample, text=text) for sample, text in zip(samples, texts, strict=True)]

    tables: Any = {
        "problems": {"use": "word_problems", "count": 1, "max_steps": 4},
        "generate": {"traces_per_problem": len(texts)},
        "annotators": [{"use": "formal"}],
    }
    returned = Counter[bytes]()
    job = await run(counted_job(tmp_path, workers, returned, change=unusual, **tables))
    rows = rows_of(job.dataset)
    shutil.rmtree(tmp_path / "traces")
    job = await run(counted_job(tmp_path, workers, returned, **tables))
    assert max(returned.values()) == 1
    assert rows_of(job.dataset) == rows


async def test_similar_problems_have_their_own_samples(
    tmp_path: Path, workers: VerifierPool
) -> None:
    questions = ["a b", "a  b", "a b ", " a b", "a\tb", "é", "e\u0301", "a b"]
    source = tmp_path / "problems.jsonl"
    source.write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    returned = Counter[bytes]()
    job = counted_job(
        tmp_path / "data",
        workers,
        returned,
        problems={"use": "files", "paths": [str(source)]},
        engine={"use": "scripted", "replies": {"": ["1 + 1 = 2\nThe answer is 2."]}},
        annotators=[{"use": "formal"}],
    )
    engine = Counted(engine=replace_respond(job), returned=returned)
    await run(replace(job, plan=job.plan.with_engines(EnginePool({"engine": engine}))))
    ids = column(job.dataset.read(TRACES), "trace_id")
    # The last question is a duplicate of the first one.
    assert len(ids) == len(set(ids)) == 2 * (len(questions) - 1)
    assert set(returned.values()) == {1}


def replace_respond(job: Job) -> Any:
    """Return the job's engine with the replies of its run file instead of the model's."""
    engine = job.plan.engine
    assert isinstance(engine, Counted)
    return replace(
        engine.engine,  # type: ignore[type-var]
        respond=lambda prompt, sampling, index: "The answer is 2.",
    )


async def test_buckets_are_compared_with_run_files(workers: VerifierPool) -> None:
    uri = "memory://histories/data"
    returned = Counter[bytes]()
    await run(counted_job_at(uri, workers, returned))
    job = await run(counted_job_at(uri, workers, returned, generate={"traces_per_problem": 3}))
    assert job.dataset.count(TRACES) == 3
    assert max(returned.values()) == 1
    with pytest.raises(ReplacesError, match="replace 3 traces"):
        await run(counted_job_at(uri, workers, returned, seed=2))


def counted_job_at(uri: str, workers: VerifierPool, returned: Counter[bytes], **tables: Any) -> Job:
    """Return a job with one shard in a bucket, whose files in memory share one position."""
    tables = {
        "problems": {"use": "word_problems", "count": 1, "max_steps": 4},
        "annotators": [{"use": "formal"}],
        **tables,
    }
    return replace(counted_job("unused", workers, returned, **tables), dataset=Dataset(uri))


@pytest.mark.parametrize("content", [b"x = [", b"\xff\xfe\x00x", b"", b"unknown = 1\n"], ids=str)
async def test_unreadable_run_files_replace_nothing(
    content: bytes, tmp_path: Path, workers: VerifierPool
) -> None:
    """Without a usable run file, nothing proves what wrote the texts of format 1."""
    shutil.copytree(FIXTURE / "dataset", tmp_path / "data")
    (tmp_path / "data" / "run.toml").write_bytes(content)
    before = rows_of(Dataset(str(tmp_path / "data")))
    with pytest.raises(ReplacesError, match=r"replace 15 traces .* not migrated are lost"):
        await run(counted_job(tmp_path / "data", workers, Counter()))
    assert rows_of(Dataset(str(tmp_path / "data"))) == before


async def test_damaged_ids_of_migrations_are_named(tmp_path: Path, workers: VerifierPool) -> None:
    shutil.copytree(FIXTURE / "dataset", tmp_path / "data")
    (tmp_path / "data" / ".migration-00000.json").write_text("{")
    with pytest.raises(DatasetError, match=r"\.migration-00000\.json is damaged"):
        await run(counted_job(tmp_path / "data", workers, Counter()))


async def test_interrupted_replacement_removes_earlier_methods(
    tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is killed after it wrote other traces; no run has the method of before."""
    await run(counted_job(tmp_path, workers, Counter()))
    tables: Any = {"seed": 2, "annotators": [{"use": "formal"}]}
    write_part = Dataset.write_part

    def stop_after_traces(*arguments: Any, **options: Any) -> Any:
        footer = write_part(*arguments, **options)
        if arguments[1] == TRACES:
            raise InterruptedWriteError
        return footer

    job = counted_job(tmp_path, workers, Counter(), options=RECOMPUTE, **tables)
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "write_part", stop_after_traces)
        with pytest.raises(InterruptedWriteError):
            await run(job)
    job = await run(counted_job(tmp_path, workers, Counter(), **tables))
    assert list(verify(job.dataset)) == []
    assert list(job.dataset.read(rollouts("monte_carlo"))) == []
