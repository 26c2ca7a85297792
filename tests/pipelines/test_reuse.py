"""Stored completions: no sample is requested twice, whatever changes in the run file."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engines.base import Completion, Prompt
from pipelines.run import graders
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from pipelines.run.summary import summary_rows
from stepmark.errors import EngineError, ReplacesError
from stepmark.records import Critique, Problem, Rejected, Rollout, Sampling, Trace, Verdict
from storage.completions.files import list_files, read_table
from storage.dataset.dataset import Dataset
from storage.dataset.parts import Footer
from storage.dataset.tables import LABELS, TRACES, Table, annotations, rollouts
from storage.dataset.verify import verify
from tests.columns import column
from tests.pipelines.simulated import RUN, Model, changed_tables, is_judging, parts, run_in
from verifiers.base import Claim, Finding, StepClaim
from verifiers.isolation.pool import VerifierPool

CAREFUL = RunOptions()
"""The options of a plain `stepmark run`."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


pytestmark = pytest.mark.asyncio(loop_scope="module")


def requested_samples(model: Model) -> Counter[tuple[str, str, int]]:
    """Return how often each sample was requested: (user turn, prefix, seed of the sample)."""
    samples = Counter[tuple[str, str, int]]()
    for prompt, sampling in model.requests:
        for seed in range(sampling.seed, sampling.seed + sampling.n):
            samples[prompt.user, prompt.prefix, seed] += 1
    return samples


def trace_ids(job: Job) -> list[str]:
    return column(job.dataset.read(TRACES), "trace_id")


async def test_no_sample_is_requested_twice(tmp_path: Path, workers: VerifierPool) -> None:
    model = Model()
    job = await run_in(tmp_path, workers, model, options=CAREFUL)
    samples = requested_samples(model)
    assert max(samples.values()) == 1
    # Everything is stored under a key of its own.
    stored = job.dataset.folder.files("completions")
    assert stored == ["part-00000.parquet", "part-00001.parquet"]


async def test_completions_are_written_before_parts(
    tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete part is not made again, so a kill after it must not lose its completions."""
    missing = dict[str, set[str]]()
    write_part = Dataset.write_part

    def write(
        dataset: Dataset,
        table: Table[Any],
        shard: int,
        records: Iterable[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Footer:
        rows = list(records)
        texts = set[str]()
        for row in rows:
            if isinstance(row, Trace):
                texts.add("".join(row.steps))
            elif isinstance(row, Rollout | Critique):
                texts.add(row.text)
        if texts:
            missing[f"{table.folder} {shard}"] = texts - written_texts(dataset)
        return write_part(dataset, table, shard, rows, *args, **kwargs)

    monkeypatch.setattr(Dataset, "write_part", write)
    # The completions of a run that takes less than `flush_seconds` are written by no timer.
    await run_in(tmp_path, workers, Model(), options=CAREFUL)
    # Traces, the rollouts of two methods and critiques, of two shards.
    assert len(missing) == 8
    assert not any(missing.values()), missing


def written_texts(dataset: Dataset) -> set[str]:
    texts = set[str]()
    for file in list_files(dataset.folder):
        _, table = read_table(dataset.folder, file.path)
        texts.update(table["text"].to_pylist())
    return texts


async def test_another_grader_version_needs_no_request(
    tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await run_in(tmp_path, workers, Model(), options=CAREFUL)
    ids = trace_ids(before)
    outcomes = column(before.dataset.read(TRACES), "outcome")
    rollout_ids = column(before.dataset.read(rollouts("monte_carlo")), "rollout_id")

    def no_answer(text: str) -> None:
        """Find no answer in any text."""

    grader = replace(graders.ANSWERS, extract=no_answer, extractor_version=99)
    monkeypatch.setitem(graders.GRADERS, "answers", grader)
    model = Model()
    job = await run_in(tmp_path, workers, model, options=CAREFUL)
    assert model.requests == []
    assert trace_ids(job) == ids
    assert column(job.dataset.read(rollouts("monte_carlo")), "rollout_id") == rollout_ids
    assert set(outcomes) == {Verdict.CORRECT, Verdict.INCORRECT}
    assert set(column(job.dataset.read(TRACES), "outcome")) == {Verdict.UNKNOWN}
    for method in ("monte_carlo", "binary_search"):
        decided = column(job.dataset.read(annotations(method)), "first_error")
        assert set(decided) == {None}
    assert not any(column(job.dataset.read(LABELS), "kept"))


@pytest.mark.parametrize(
    "changes",
    [
        {"label": {"use": "consensus", "rule": "majority"}},
        {"label": {"use": "fusion"}},
        {"filters": [{"use": "length", "max_steps": 2}]},
        {"annotators": [*RUN["annotators"], {"use": "formal", "name": "again"}]},
        {"annotators": RUN["annotators"][:3]},
        {"generate": {"traces_per_problem": 4, "grader": "answers"}},
    ],
    ids=lambda change: str(*change),
)
async def test_relabelling_needs_no_request(
    changes: dict[str, Any], tmp_path: Path, workers: VerifierPool
) -> None:
    ids = trace_ids(await run_in(tmp_path, workers, Model(), options=CAREFUL))
    model = Model()
    job = await run_in(tmp_path, workers, model, options=CAREFUL, **changes)
    assert model.requests == []
    assert trace_ids(job) == ids


async def test_another_split_requests_only_new_prefixes(
    tmp_path: Path, workers: VerifierPool
) -> None:
    without_judge: dict[str, Any] = {
        "annotators": [{"use": "monte_carlo", "rollouts": 4}],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
    }
    first = Model()
    ids = trace_ids(await run_in(tmp_path, workers, first, options=CAREFUL, **without_judge))
    second = Model()
    generate = {"traces_per_problem": 4, "split": "sentence"}
    job = await run_in(
        tmp_path, workers, second, options=CAREFUL, **without_judge, generate=generate
    )
    assert trace_ids(job) == ids
    known = {(user, prefix) for user, prefix, _ in requested_samples(first)}
    assert not any((user, prefix) in known for user, prefix, _ in requested_samples(second))
    # Back to the first split: all of it is stored.
    third = Model()
    await run_in(tmp_path, workers, third, options=CAREFUL, **without_judge)
    assert third.requests == []


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"generate": {"traces_per_problem": 8}}, "traces"),
        (
            {"annotators": [{"use": "monte_carlo", "rollouts": 8}, *RUN["annotators"][1:]]},
            "rollouts",
        ),
    ],
    ids=["traces", "rollouts"],
)
async def test_more_samples_request_only_the_added(
    changes: dict[str, Any], added: str, tmp_path: Path, workers: VerifierPool
) -> None:
    first = Model()
    before = await run_in(tmp_path, workers, first, options=CAREFUL)
    ids = trace_ids(before)
    rows = {row.rollout_id: row for row in before.dataset.read(rollouts("monte_carlo"))}
    second = Model()
    job = await run_in(tmp_path, workers, second, options=CAREFUL, **changes)
    assert requested_samples(first).keys().isdisjoint(requested_samples(second))
    now = {row.rollout_id: row for row in job.dataset.read(rollouts("monte_carlo"))}
    # All earlier rows are there, unchanged.
    assert {rollout_id: now[rollout_id] for rollout_id in rows} == rows
    assert set(ids) <= set(trace_ids(job))
    fresh = Model()
    undisturbed = await run_in(tmp_path / "other", workers, fresh, options=CAREFUL, **changes)
    # Together the two runs requested exactly what a single run requests.
    assert requested_samples(first) + requested_samples(second) == requested_samples(fresh)
    assert trace_ids(undisturbed) == trace_ids(job)
    assert len(now) > len(rows) or added == "traces"


async def test_replacing_traces_needs_permission(tmp_path: Path, workers: VerifierPool) -> None:
    ids = trace_ids(await run_in(tmp_path, workers, Model(), options=CAREFUL))
    before = parts(tmp_path)
    model = Model()
    with pytest.raises(ReplacesError, match=r"replace 16 traces .* seed 1 -> 2; .* --recompute"):
        await run_in(tmp_path, workers, model, options=CAREFUL, seed=2)
    assert parts(tmp_path) == before
    assert model.requests == []

    job = await run_in(tmp_path, workers, model, options=RunOptions(recompute=True), seed=2)
    assert set(trace_ids(job)).isdisjoint(ids)
    # The completions of the first seed are still stored.
    model = Model()
    job = await run_in(tmp_path, workers, model, options=RunOptions(recompute=True))
    assert model.requests == []
    assert trace_ids(job) == ids


async def test_allowed_replacement_resumes(tmp_path: Path, workers: VerifierPool) -> None:
    """A run that may replace traces and is stopped needs no second permission."""
    await run_in(tmp_path, workers, Model(), options=CAREFUL)

    def fails_on_judging(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if is_judging(prompt):
            raise EngineError("down", retryable=True)
        return ""

    with pytest.raises(EngineError):
        await run_in(
            tmp_path,
            workers,
            Model(before=fails_on_judging),
            options=RunOptions(recompute=True),
            seed=2,
        )
    job = await run_in(tmp_path, workers, Model(), options=CAREFUL, seed=2)
    assert job.dataset.count(LABELS) == 16


async def test_problems_move_between_shards(tmp_path: Path, workers: VerifierPool) -> None:
    ids = trace_ids(await run_in(tmp_path, workers, Model(), options=CAREFUL))
    model = Model()
    job = await run_in(tmp_path, workers, model, options=CAREFUL, shards={"problems_per_shard": 3})
    assert model.requests == []
    assert sorted(trace_ids(job)) == sorted(ids)


async def test_retry_failed_repeats_rejected_requests(
    tmp_path: Path, workers: VerifierPool
) -> None:
    rejected = Model().problems[0].question

    def reject(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if rejected in prompt.user:
            raise EngineError("too long", retryable=False)
        return ""

    job = await run_in(tmp_path, workers, Model(before=reject), options=CAREFUL)
    failed = [trace for trace in job.dataset.read(TRACES) if not trace.steps]
    assert len(failed) == 4
    model = Model()
    await run_in(tmp_path, workers, model, options=CAREFUL)
    assert model.requests == [], "a plain run does not repeat them"
    job = await run_in(tmp_path, workers, model, options=RunOptions(retry_failed=True))
    assert {rejected in prompt.user for prompt, _ in model.requests} == {True}
    assert all(trace.steps for trace in job.dataset.read(TRACES))


async def test_retry_failed_repeats_aborted_completions(
    tmp_path: Path, workers: VerifierPool
) -> None:
    def abort(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if prompt.prefix or is_judging(prompt) or index:
            return ""
        return Completion(
            text="",
            finish_reason="abort",
            prompt_tokens=1,
            cached_tokens=0,
            generated_tokens=0,
        )

    await run_in(tmp_path, workers, Model(before=abort), options=CAREFUL)
    model = Model()
    await run_in(tmp_path, workers, model, options=CAREFUL)
    assert model.requests == []
    job = await run_in(tmp_path, workers, model, options=RunOptions(retry_failed=True))
    assert model.requests
    assert set(column(job.dataset.read(TRACES), "finish_reason")) == {"stop"}


async def test_unnamed_methods_leave_with_changed_traces(
    tmp_path: Path, workers: VerifierPool
) -> None:
    """Annotations that no stage makes again would contradict other grades or lack added traces."""
    await run_in(tmp_path, workers, Model(), options=CAREFUL)
    named: dict[str, Any] = {
        "annotators": RUN["annotators"][:2],
        "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
    }
    job = await run_in(tmp_path, workers, Model(), options=CAREFUL, **named)
    assert "judge" in job.dataset.methods("annotations"), "the traces are the same"
    generate = {"traces_per_problem": 5}
    job = await run_in(tmp_path, workers, Model(), options=CAREFUL, **named, generate=generate)
    assert job.dataset.methods("annotations") == ("binary_search", "monte_carlo", "oracle")
    assert job.dataset.methods("critiques") == ()
    assert list(verify(job.dataset)) == []
    # Naming the method again repeats no request for the traces that it has judged.
    model = Model()
    await run_in(tmp_path, workers, model, options=CAREFUL, generate=generate)
    judged = [sampling.n for prompt, sampling in model.requests if is_judging(prompt)]
    assert judged == [2] * 4, "one request for each added trace"


async def test_other_metadata_of_problems_remakes_annotations(
    tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods, oracles and filters read domain and metadata, which no id contains."""
    filters = {"filters": [{"use": "length", "max_steps": 9}]}
    before = await run_in(tmp_path, workers, Model(), options=CAREFUL, **filters)
    files = parts(tmp_path)
    source = before.plan.source
    assert source is not None
    rows = list(source.problems())

    def changed(self: object) -> Iterator[Problem | Rejected]:
        for row in rows:
            yield replace(row, domain="other") if isinstance(row, Problem) else row

    monkeypatch.setattr(type(source), "problems", changed)
    model = Model()
    await run_in(tmp_path, workers, model, options=CAREFUL, **filters)
    assert model.requests == []
    changed_parts = changed_tables(files, parts(tmp_path))
    assert {"problems", "labels", "annotations/judge", "annotations/oracle"} <= changed_parts


async def test_rejected_shard_after_answers_is_kept(
    tmp_path: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All requests of a shard can be rejected if the engine has answered those of another one."""
    rejected = [problem.question for problem in Model().problems[2:4]]

    def reject(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if any(question in prompt.user for question in rejected):
            raise EngineError("too long", retryable=False)
        return ""

    shards = {"problems_per_shard": 2, "shards_in_flight": 1}
    await run_in(tmp_path, workers, Model(before=reject), options=CAREFUL, shards=shards)
    Path(tmp_path, "traces/part-00001.parquet").unlink()
    # Shard 0 is complete, so this run requests nothing that the engine answers.
    job = await run_in(tmp_path, workers, Model(before=reject), options=CAREFUL, shards=shards)
    assert job.dataset.count(TRACES) == 16
    grader = replace(graders.ANSWERS, extractor_version=99)
    monkeypatch.setitem(graders.GRADERS, "answers", grader)
    job = await run_in(tmp_path, workers, Model(before=reject), options=CAREFUL, shards=shards)
    assert job.dataset.count(TRACES) == 16


async def test_damaged_completions_are_named(tmp_path: Path, workers: VerifierPool) -> None:
    job = await run_in(tmp_path, workers, Model(), options=CAREFUL)
    path = Path(tmp_path, "completions/part-00001.parquet")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert column(verify(job.dataset), "path") == ["completions/part-00001.parquet"]
    Path(tmp_path, "traces/part-00001.parquet").unlink()
    model = Model()
    job = await run_in(tmp_path, workers, model, options=CAREFUL)
    assert model.requests
    rows = summary_rows(job.dataset, job.meter, job.plan.run_file.prices)
    (line,) = [row["count"] for row in rows if row["what"] == "damaged completions"]
    assert line.startswith(f"{path} is damaged and is skipped")
    assert path.read_bytes() == content, "the file is kept"


async def test_retry_failed_repeats_timed_out_claims(tmp_path: Path) -> None:
    class BusyPool(VerifierPool):
        is_busy = True

        async def verify(self, verifier_id: str, claim: Claim) -> Finding:
            if self.is_busy and isinstance(claim, StepClaim):
                return Finding(verdict=Verdict.UNKNOWN, reason="timeout")
            return await super().verify(verifier_id, claim)

    def decided_steps(job: Job) -> int:
        decided = 0
        for row in job.dataset.read(annotations("formal")):
            decided += sum(step.verdict is not Verdict.UNKNOWN for step in row.steps)
        return decided

    async with BusyPool() as pool:
        assert decided_steps(await run_in(tmp_path, pool, Model(), options=CAREFUL)) == 0
        pool.is_busy = False
        assert decided_steps(await run_in(tmp_path, pool, Model(), options=CAREFUL)) == 0
        again = RunOptions(retry_failed=True)
        assert decided_steps(await run_in(tmp_path, pool, Model(), options=again)) > 0
