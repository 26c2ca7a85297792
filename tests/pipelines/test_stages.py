"""The stages of a run: complete parts, made once, and remade only when an input changes."""

import os
import random
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from annotators.labelers.consensus import Consensus
from engines.base import Completion, Prompt
from filters.balance import Balance
from pipelines.run import oracle
from pipelines.run.job import Job
from stepmark.errors import ConfigError, DatasetError, EngineError
from stepmark.identity import SEED_SPACING
from stepmark.records import (
    NO_ERROR,
    Annotation,
    Critique,
    Label,
    Rejected,
    Sampling,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.parts import Footer
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    REJECTED,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)
from storage.queries.render import values
from storage.queries.sql import query
from tests.columns import column
from tests.json_lines import write_json_lines
from tests.pipelines.rows import by_trace_id
from tests.pipelines.simulated import (
    RUN,
    Model,
    Parts,
    changed_parts,
    changed_tables,
    is_judging,
    job_in,
    label,
    parts,
    problems_of,
    run,
    run_in,
)
from verifiers.isolation.pool import VerifierPool

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN

pytestmark = pytest.mark.asyncio(loop_scope="module")

# All annotators of `RUN` in its order; the oracle is not one of them.
METHODS = ("monte_carlo", "binary_search", "judge", "formal")
# Four shards of two, of which the last has one problem; `RUN` fills two shards.
SEVEN_PROBLEMS = RUN["problems"] | {"count": 7}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_run(tmp_path_factory: pytest.TempPathFactory, workers: VerifierPool) -> Path:
    folder = tmp_path_factory.mktemp("first") / "data"
    # A run takes much longer than a copy of its folder, so all tests of the module share it.
    await run_in(folder, workers, Model())
    return folder


@pytest.fixture
def done(folder: Path, first_run: Path) -> Path:
    """A folder with a finished run."""
    return Path(shutil.copytree(first_run, folder))


def annotations_by(job: Job, method: str) -> Mapping[str, Annotation]:
    """Return a method's annotations by trace id."""
    return by_trace_id(job.dataset.read(annotations(method)))


def kept_labels(job: Job) -> list[Label]:
    return [row for row in job.dataset.read(LABELS) if row.kept]


def labels_of(job: Job) -> Mapping[str, Label]:
    """Return the labels by trace id."""
    return by_trace_id(job.dataset.read(LABELS))


def traces_of(dataset: Dataset) -> Mapping[str, Trace]:
    """Return the sampled traces, followed by the discovered ones, by trace id."""
    tables: list[Table[Any]] = [TRACES, *map(discovered, dataset.methods("discovered"))]
    traces = dict[str, Trace]()
    for table in tables:
        for trace in dataset.read(table):
            traces[trace.trace_id] = trace
    return traces


def rewritten_tables(before: Parts, after: Parts) -> set[str]:
    """Return the tables of which an existing part was rewritten or removed."""
    # Added parts are not compared, because a longer run adds parts to every table.
    return changed_tables(before, {name: after[name] for name in before if name in after})


def evidence_tables(dataset: Dataset) -> Sequence[Table[Any]]:
    """Return the tables that annotations are based on."""
    table_of: Mapping[str, Callable[[str], Table[Any]]] = {
        "rollouts": rollouts,
        "critiques": critiques,
        "discovered": discovered,
    }
    tables = list[Table[Any]]()
    for kind, make_table in table_of.items():
        tables.extend(map(make_table, dataset.methods(kind)))
    return tables


def part_keys_of(dataset: Dataset, table: Table[Any], shards: Sequence[int]) -> Mapping[int, str]:
    """Return the part keys of the complete parts among these shards."""
    part_keys = dict[int, str]()
    for shard in shards:
        footer = dataset.footer(table, shard)
        if footer is not None:
            part_keys[shard] = footer.part_key
    return part_keys


def check_never_mixed(dataset: Dataset) -> None:
    """Check that all rows come from the same run.

    Evidence has the part keys of its annotations, the rows of a table have one fingerprint, and
    every row refers to an existing trace or problem.
    """
    traces = traces_of(dataset)
    problem_ids = set(column(dataset.read(PROBLEMS), "problem_id"))
    assert set(column(traces.values(), "problem_id")) <= problem_ids
    # Every shard has a part of these tables, even if no row was rejected.
    assert dataset.shards(PROBLEMS) == dataset.shards(REJECTED) == dataset.shards(TRACES)
    for table in evidence_tables(dataset):
        shards = dataset.shards(table)
        evidence_keys = part_keys_of(dataset, table, shards)
        assert evidence_keys == part_keys_of(dataset, annotations(table.method or ""), shards)
        assert set(column(dataset.read(table), "trace_id")) <= traces.keys()
    assert len(set(column(dataset.read(LABELS), "fingerprint"))) <= 1
    for method in dataset.methods("annotations"):
        rows = list(dataset.read(annotations(method)))
        assert len(set(column(rows, "fingerprint"))) == 1
        assert set(column(rows, "trace_id")) <= traces.keys()


def engine_down(prompt: Prompt, sampling: Sampling, index: int) -> str:
    raise EngineError("connection refused", retryable=True)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Write rows as JSON lines and return the [problems] table that reads them."""
    return {"use": "files", "paths": [write_json_lines(path, *rows)]}


def question_rows(model: Model, count: int) -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for problem in model.problems[:count]:
        rows.append({"question": problem.question, "answer": problem.answer})
    return rows


async def test_run_fills_every_table(done: Path, workers: VerifierPool) -> None:
    dataset = job_in(done, workers, Model()).dataset
    # Four problems with four traces each.
    counts = [dataset.count(table) for table in (PROBLEMS, TRACES, LABELS)]
    assert counts == [4, 16, 16]
    assert dataset.methods("annotations") == (
        "binary_search",
        "formal",
        "judge",
        "monte_carlo",
        "oracle",
    )
    assert dataset.methods("rollouts") == ("binary_search", "monte_carlo")
    assert dataset.methods("critiques") == ("judge",)
    check_never_mixed(dataset)


async def test_annotations_and_labels_are_correct(done: Path, workers: VerifierPool) -> None:
    job = job_in(done, workers, Model())
    truth = annotations_by(job, "oracle")
    traces = by_trace_id(job.dataset.read(TRACES))
    # Both outcomes occur, so the comparisons below cover right and wrong traces.
    assert set(column(traces.values(), "outcome")) == {C, I}
    assert len(truth) == len(traces) == 16
    for method in METHODS:
        for trace_id, annotation in annotations_by(job, method).items():
            assert annotation.error is None
            assert len(annotation.steps) == len(traces[trace_id].steps)
            # The other methods depend on random rollouts and may be wrong.
            if method in ("judge", "formal"):
                assert annotation.first_error in (None, truth[trace_id].first_error)
    for annotation in annotations_by(job, "judge").values():
        assert annotation.first_error is not None
    kept = kept_labels(job)
    assert len(kept) > 8
    for row in kept:
        assert row.first_error == truth[row.trace_id].first_error
    # Traces with and without a first error are among the kept ones.
    assert {row.first_error == NO_ERROR for row in kept} == {True, False}


async def test_ids_and_seeds_are_unique(done: Path, workers: VerifierPool) -> None:
    job = job_in(done, workers, Model())
    traces = list(job.dataset.read(TRACES))
    seeds = sorted(trace.sampling.seed for trace in traces if trace.sampling)
    assert len(set(column(traces, "trace_id"))) == len(seeds) == 16
    # The four traces of a problem have consecutive seeds.
    assert [after - before for before, after in pairwise(seeds)].count(1) == 12
    for method in job.dataset.methods("rollouts"):
        sampled = list(job.dataset.read(rollouts(method)))
        assert len(set(column(sampled, "rollout_id"))) == len(sampled)
        assert len(set(column(sampled, "seed"))) == len(sampled)
        costs = column(annotations_by(job, method).values(), "cost")
        assert len(sampled) == sum(column(costs, "rollouts"))


async def test_judge_votes_are_stored(done: Path, workers: VerifierPool) -> None:
    job = job_in(done, workers, Model())
    replies = defaultdict[str, list[Critique]](list)
    for critique in job.dataset.read(critiques("judge")):
        replies[critique.trace_id].append(critique)
    for trace_id, annotation in annotations_by(job, "judge").items():
        votes = replies[trace_id]
        assert column(votes, "vote") == [0, 1]
        # The simulated judge makes no mistakes, so that both votes agree.
        assert set(column(votes, "first_error")) == {annotation.first_error}
        tokens = sum(column(votes, "generated_tokens"))
        assert tokens == annotation.cost.generated_tokens
        for index, step in enumerate(annotation.steps):
            assert [critique.verdicts[index] for critique in votes].count(C) == step.successes


async def test_rollouts_continue_the_traces(folder: Path, workers: VerifierPool) -> None:
    # A model that makes no mistakes, so that every rollout ends as its trace does.
    job = await run_in(folder, workers, Model(skill=1.0))
    problems = problems_of(job)
    traces = by_trace_id(job.dataset.read(TRACES))
    for trace in traces.values():
        problem = problems[trace.problem_id]
        assert "".join(trace.steps) == problem.metadata["gold"]
        assert trace.outcome is C
        assert trace.final_answer == problem.answer
        assert trace.model == "scripted"
    for rollout in job.dataset.read(rollouts("monte_carlo")):
        trace = traces[rollout.trace_id]
        prefix = "".join(trace.steps[: rollout.prefix_steps])
        assert prefix + rollout.text == "".join(trace.steps)


async def test_runs_are_reproducible(tmp_path: Path, workers: VerifierPool) -> None:
    first_model = Model()
    second_model = Model()
    first = await run_in(tmp_path / "a", workers, first_model)
    second = await run_in(tmp_path / "b", workers, second_model)
    # Requests run concurrently, so that only their counts are compared.
    first_requests = Counter(map(repr, first_model.requests))
    assert first_requests == Counter(map(repr, second_model.requests))
    tables: list[Table[Any]] = [PROBLEMS, TRACES, LABELS, annotations("oracle")]
    for table in tables:
        assert list(first.dataset.read(table)) == list(second.dataset.read(table))
    assert all(sampling.seed % SEED_SPACING == 0 for _, sampling in first_model.requests)


async def test_rerun_does_nothing(done: Path, workers: VerifierPool) -> None:
    before = parts(done)
    model = Model()
    job = await run_in(done, workers, model)
    assert model.requests == []
    # Inodes and modification times are compared, so a part with equal bytes counts as rewritten.
    assert parts(done) == before
    assert not {"traces", "labels", *METHODS} & job.meter.done.keys()
    assert job.meter.skipped == job.meter.total == {"traces": 16, **dict.fromkeys(METHODS, 16)}
    assert job.meter.seconds_left == 0


# The tables that are made from the traces.
DOWNSTREAM = {
    "rollouts/monte_carlo",
    "rollouts/binary_search",
    "critiques/judge",
    "labels",
    "annotations/monte_carlo",
    "annotations/binary_search",
    "annotations/judge",
    "annotations/formal",
    "annotations/oracle",
}
ALL_TABLES = {"problems", "rejected", "traces", *DOWNSTREAM}


@pytest.mark.parametrize(
    ("changes", "remade"),
    [
        (
            # Sizes in flight and prices change no row.
            {"shards": {"problems_per_shard": 2, "shards_in_flight": 1}, "prices": {"prompt": 1.0}},
            set(),
        ),
        # Other problems are in each shard.
        ({"shards": {"problems_per_shard": 3}}, ALL_TABLES),
        ({"generate": {"traces_per_problem": 3}}, {"traces", *DOWNSTREAM}),
        ({"generate": {"traces_per_problem": 4, "temperature": 0.5}}, {"traces", *DOWNSTREAM}),
        ({"seed": 2}, {"traces", *DOWNSTREAM}),
        (
            {"annotators": [{"use": "monte_carlo", "rollouts": 3}, *RUN["annotators"][1:]]},
            {"rollouts/monte_carlo", "annotations/monte_carlo", "labels"},
        ),
        (
            {
                "annotators": [
                    *RUN["annotators"][:2],
                    {"use": "judge", "votes": 1},
                    RUN["annotators"][3],
                ]
            },
            {"critiques/judge", "annotations/judge", "labels"},
        ),
        ({"label": {"use": "consensus", "rule": "majority"}}, {"labels"}),
        ({"label": {"use": "fusion"}}, {"labels"}),
        # A filter changes only the labels.
        ({"filters": [{"use": "length"}]}, {"labels"}),
        # Annotations of a method that is no longer listed stay.
        ({"annotators": RUN["annotators"][:3]}, {"labels"}),
        (
            {"annotators": [*RUN["annotators"], {"use": "formal", "name": "other"}]},
            {"annotations/other", "labels"},
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
async def test_change_remakes_only_dependent_parts(
    changes: dict[str, Any], remade: set[str], done: Path, workers: VerifierPool
) -> None:
    before = parts(done)
    job = await run_in(done, workers, Model(), **changes)
    after = parts(done)
    assert changed_tables(before, after) == remade
    assert table_names(after.keys() - changed_parts(before, after)) == table_names(after) - remade
    check_never_mixed(job.dataset)
    # No label of a removed trace is left.
    trace_ids = set(column(job.dataset.read(TRACES), "trace_id"))
    assert trace_ids == set(labels_of(job))


def table_names(part_names: Parts | set[str]) -> set[str]:
    return {name.rpartition("/")[0] for name in part_names}


def file_names(part_names: Parts | set[str]) -> set[str]:
    return {name.rpartition("/")[2] for name in part_names}


async def test_more_problems_keep_finished_shards(done: Path, workers: VerifierPool) -> None:
    before = parts(done)
    job = await run_in(done, workers, Model(), problems=SEVEN_PROBLEMS)
    after = parts(done)
    # The first two shards are complete, so that their parts stay.
    assert before.items() <= after.items()
    new_parts = set(after) - set(before)
    assert file_names(new_parts) == {"part-00002.parquet", "part-00003.parquet"}
    assert job.dataset.count(TRACES) == 4 * 7
    check_never_mixed(job.dataset)


async def test_growing_shard_keeps_trace_ids(folder: Path, workers: VerifierPool) -> None:
    # The second shard has one problem of two, and the next run completes it.
    three_problems = RUN["problems"] | {"count": 3}
    before = traces_of((await run_in(folder, workers, Model(), problems=three_problems)).dataset)
    job = await run_in(folder, workers, Model())
    assert before.items() <= traces_of(job.dataset).items()
    check_never_mixed(job.dataset)


async def test_fewer_problems_remove_later_shards(done: Path, workers: VerifierPool) -> None:
    job = await run_in(done, workers, Model(), problems=RUN["problems"] | {"count": 1})
    assert job.dataset.count(PROBLEMS) == 1
    assert job.dataset.count(TRACES) == 4
    # The first shard had two problems and is made again with one.
    assert file_names(parts(done)) == {"part-00000.parquet"}


async def test_writing_problems_reads_no_other_shards(
    folder: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    footer_reads = Counter[int]()
    footer = Dataset.footer

    def counted_footer(dataset: Dataset, table: Table[Any], shard: int) -> Footer | None:
        footer_reads[shard] += 1
        return footer(dataset, table, shard)

    monkeypatch.setattr(Dataset, "footer", counted_footer)
    job = job_in(
        folder,
        workers,
        Model(),
        problems=RUN["problems"] | {"count": 12},
        shards={"problems_per_shard": 1},
    )
    assert len(await job.make_problems()) == 12
    # A bound per shard: it does not grow with the number of shards.
    assert max(footer_reads.values()) <= 2 * len((PROBLEMS, REJECTED))


async def test_unnamed_method_stays_with_its_traces(done: Path, workers: VerifierPool) -> None:
    without_formal = RUN["annotators"][:3]
    job = await run_in(done, workers, Model(), annotators=without_formal)
    assert "formal" in job.dataset.methods("annotations")
    assert not any("formal" in row.sources for row in job.dataset.read(LABELS))
    # Another seed makes other traces, to which the old annotations do not belong.
    job = await run_in(done, workers, Model(), annotators=without_formal, seed=2)
    assert "formal" not in job.dataset.methods("annotations")
    assert job.meter.removed == {"formal": 16}
    check_never_mixed(job.dataset)


async def test_no_labels_without_label_table(done: Path, workers: VerifierPool) -> None:
    job = await run_in(done, workers, Model(), label=None)
    assert job.dataset.shards(LABELS) == ()


async def test_damaged_parts_are_made_again(done: Path, workers: VerifierPool) -> None:
    before = parts(done)
    truncated = done / "annotations/monte_carlo/part-00001.parquet"
    lost = done / "annotations/judge/part-00000.parquet"
    # One byte less already removes the end mark of a Parquet file.
    os.truncate(truncated, truncated.stat().st_size - 1)
    lost.unlink()
    model = Model()
    job = await run_in(done, workers, model)
    changed = changed_parts(before, parts(done))
    # The evidence of a method is made together with its annotations.
    assert changed == {
        "annotations/monte_carlo/part-00001.parquet",
        "rollouts/monte_carlo/part-00001.parquet",
        "annotations/judge/part-00000.parquet",
        "critiques/judge/part-00000.parquet",
    }
    # The completions are stored.
    assert model.requests == []
    check_never_mixed(job.dataset)


async def test_killed_run_leaves_no_mixed_evidence(done: Path, workers: VerifierPool) -> None:
    # This is the state after a kill between the evidence and the annotations of a part.
    for method in ("monte_carlo", "judge"):
        shutil.rmtree(done / "annotations" / method)
    changed_annotators = [
        {"use": "monte_carlo", "rollouts": 2},
        RUN["annotators"][1],
        {"use": "judge", "votes": 1},
        RUN["annotators"][3],
    ]
    job = job_in(done, workers, Model(), annotators=changed_annotators)
    await run(job)
    check_never_mixed(job.dataset)


async def test_run_resumes_after_engine_failure(folder: Path, workers: VerifierPool) -> None:
    def down_for_judging(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return engine_down(prompt, sampling, index) if is_judging(prompt) else ""

    failing = Model(before=down_for_judging)
    with pytest.raises(EngineError, match="connection refused"):
        await run_in(folder, workers, failing)
    written = parts(folder)
    before = dict(written)
    for name in written:
        # Evidence whose annotations were not written before the failure is made again with them.
        if name.startswith("rollouts/") and name.replace("rollouts", "annotations") not in written:
            del before[name]
    answered = {request for request in failing.requests if not is_judging(request[0])}
    assert answered
    model = Model()
    job = await run_in(folder, workers, model)
    assert before.items() <= parts(folder).items()
    assert job.dataset.count(LABELS) == 16
    # What the engine had answered is stored, although no method had finished.
    assert answered.isdisjoint(model.requests)


async def test_failing_engine_costs_no_data(done: Path, workers: VerifierPool) -> None:
    before = parts(done)
    with pytest.raises(EngineError, match="connection refused"):
        await run_in(done, workers, Model(before=engine_down), seed=2)
    assert parts(done) == before
    # With the old seed nothing is missing, so the engine is not used.
    await run_in(done, workers, Model(before=engine_down))
    assert parts(done) == before


async def test_lost_rejected_part_is_restored(done: Path, workers: VerifierPool) -> None:
    before = set(parts(done))
    (done / "rejected/part-00001.parquet").unlink()
    await run_in(done, workers, Model())
    assert set(parts(done)) == before


async def test_failing_engine_writes_no_traces(folder: Path, workers: VerifierPool) -> None:
    job = job_in(folder, workers, Model(before=engine_down))
    with pytest.raises(EngineError, match="connection refused"):
        await run(job)
    # Problems need no engine and are written first.
    assert job.dataset.shards(PROBLEMS) == (0, 1)
    assert job.dataset.shards(TRACES) == ()


async def test_dependent_method_uses_upstream_evidence(folder: Path, workers: VerifierPool) -> None:
    adaptive = {"use": "adaptive_search", "worth": 0.2}
    annotators = [
        {"use": "monte_carlo", "rollouts": 4},
        {"use": "formal"},
        adaptive | {"evidence": ["monte_carlo", "formal"]},
        adaptive | {"name": "independent"},
    ]
    job = await run_in(folder, workers, Model(), annotators=annotators, label=None)
    dependent = list(job.dataset.read(annotations("adaptive_search")))
    independent = list(job.dataset.read(annotations("independent")))
    truth = list(job.dataset.read(annotations("oracle")))
    dependent_rollouts = sum(column(dependent, "cost.rollouts"))
    # Upstream evidence replaces some rollouts of the search.
    assert dependent_rollouts < sum(column(independent, "cost.rollouts"))
    assert None not in column(dependent, "first_error")
    assert len(dependent) == len(truth)
    correct = 0
    for annotation, true in zip(dependent, truth, strict=True):
        correct += annotation.first_error == true.first_error
        assert sum(annotation.posterior) == pytest.approx(1)
        assert annotation.learned
    # Rollouts are random, so not every posterior has its mode at the true first error.
    assert correct >= 0.7 * len(dependent)


async def test_rejected_request_is_recorded(folder: Path, workers: VerifierPool) -> None:
    model = Model()
    problem = model.problems[0]

    def reject_problem(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if problem.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return ""

    model.before = reject_problem
    job = await run_in(folder, workers, model)
    assert job.dataset.count(TRACES) == 16
    all_traces = list(job.dataset.read(TRACES))
    traces = [trace for trace in all_traces if trace.problem_id == problem.problem_id]
    # Failed traces have ids too, which later stages need.
    assert len(set(column(traces, "trace_id"))) == 4
    for trace in traces:
        assert trace.steps == ()
        assert trace.outcome is U
        assert trace.outcome_reason == "error: the prompt is too long"
        for method in (*METHODS, "oracle"):
            annotation = annotations_by(job, method)[trace.trace_id]
            assert annotation.steps == ()
            assert annotation.first_error is None
            assert annotation.error is None
    assert all(column(kept_labels(job), "steps"))
    # A trace without steps adds no row to the view of steps.
    rows = list(values(query(job.dataset, "SELECT count(*), count(step_index) FROM steps")))
    steps = sum(len(trace.steps) for trace in all_traces)
    assert rows == [(steps, steps)]


async def test_rejected_rollout_fails_one_trace(folder: Path, workers: VerifierPool) -> None:
    # A low skill makes most traces wrong.
    model = Model(skill=0.3)
    problem = model.problems[1]

    def reject_rollouts(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if prompt.prefix and problem.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return ""

    model.before = reject_rollouts
    job = await run_in(folder, workers, model)
    failed = set[str]()
    for trace_id, annotation in annotations_by(job, "monte_carlo").items():
        if annotation.error:
            failed.add(trace_id)
    expected = set[str]()
    for trace in job.dataset.read(TRACES):
        # A trace of one step needs no rollout, so that nothing can be rejected.
        if trace.problem_id == problem.problem_id and len(trace.steps) > 1:
            expected.add(trace.trace_id)
    assert failed == expected
    assert job.meter.failed["monte_carlo"] == len(failed) > 0
    assert not any(column(annotations_by(job, "judge").values(), "error"))
    sampled = job.dataset.read(rollouts("monte_carlo"))
    assert failed.isdisjoint(column(sampled, "trace_id"))


async def test_truncated_solution_is_unknown(folder: Path, workers: VerifierPool) -> None:
    def truncated(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        return Completion(
            text="The answer is 0.",
            finish_reason="length",
            prompt_tokens=3,
            cached_tokens=1,
            generated_tokens=2,
        )

    job = await run_in(folder, workers, Model(before=truncated))
    for trace in job.dataset.read(TRACES):
        assert trace.outcome is U
        assert trace.outcome_reason == "truncated"
    assert not any(column(job.dataset.read(LABELS), "kept"))
    for method in ("monte_carlo", "binary_search", "judge"):
        for annotation in annotations_by(job, method).values():
            assert annotation.first_error is None


async def test_meter_counts_items_and_costs(folder: Path, workers: VerifierPool) -> None:
    job = await run_in(folder, workers, Model())
    per_method = dict.fromkeys(METHODS, 16)
    assert dict(job.meter.done) == {
        "problems": 4,
        "traces": 16,
        "labels": 16,
        "rows set aside": 0,
        **per_method,
    }
    assert dict(job.meter.total) == {"traces": 16, **per_method}
    generated = sum(column(job.dataset.read(TRACES), "generated_tokens"))
    for method in METHODS:
        for annotation in annotations_by(job, method).values():
            generated += annotation.cost.generated_tokens
    assert job.meter.generated_tokens == generated > 0
    sampled = [job.dataset.count(rollouts(name)) for name in ("monte_carlo", "binary_search")]
    assert job.meter.rollouts == sum(sampled)


async def test_unusable_rows_join_their_shard(
    folder: Path, tmp_path: Path, workers: VerifierPool
) -> None:
    model = Model()
    first, second, third = question_rows(model, 3)
    source = write_rows(
        tmp_path / "rows.jsonl",
        [{"question": ""}, first, second, {"answer": "5"}, second, third, {"question": None}],
    )
    job = await run_in(folder, workers, model, problems=source)
    # Rows are counted from one. The fifth row repeats the third, and a shard has two problems.
    assert column(job.dataset.read_part(REJECTED, 0), "row") == [1]
    assert column(job.dataset.read_part(REJECTED, 1), "row") == [4, 5, 7]
    assert all(isinstance(row, Rejected) and row.reason for row in job.dataset.read(REJECTED))
    assert [job.dataset.count(table) for table in (PROBLEMS, TRACES)] == [3, 12]
    # Problems from a file have no oracle.
    assert "oracle" not in job.dataset.methods("annotations")
    assert job.meter.done["problems"] == 3
    assert job.meter.done["rows set aside"] == 4


async def test_ungradable_problems_are_rejected(
    folder: Path, tmp_path: Path, workers: VerifierPool
) -> None:
    model = Model()
    rows = question_rows(model, 5)
    # No value can be compared with an ellipsis or with a division by zero.
    rows[0]["answer"] = "1, 2, ..."
    rows[2]["answer"] = r"\frac{1}{0}"
    # A problem without an answer is usable: its traces have an unknown outcome.
    del rows[4]["answer"]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    changes: dict[str, Any] = {"problems": source, "annotators": [], "label": None}
    job = await run_in(folder, workers, model, **changes)
    answers = column(job.dataset.read(PROBLEMS), "answer")
    assert answers == [rows[1]["answer"], rows[3]["answer"], None]
    rejected = list(job.dataset.read(REJECTED))
    assert column(rejected, "row", "field") == [(1, "answer"), (3, "answer")]
    assert column(rejected, "reason") == [
        "no answer could be compared with it: not understood: a sign that is not understood",
        "no answer could be compared with it: no value",
    ]
    assert set(column(job.dataset.read(TRACES), "problem_id")) == set(problems_of(job))
    before = parts(folder)
    await run_in(folder, workers, model, **changes)
    assert parts(folder) == before


async def test_source_without_usable_problem_fails(
    folder: Path, tmp_path: Path, workers: VerifierPool
) -> None:
    rows = [{"question": f"What is {number}?", "answer": "..."} for number in range(5)]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    message = (
        r"no usable problem, nothing was changed; .*"
        r"row 1, field 'answer': no answer could be compared"
    )
    with pytest.raises(DatasetError, match=message):
        await run_in(folder, workers, Model(), problems=source)


@pytest.mark.parametrize("gold", ["oracle", "human"])
async def test_gold_is_never_a_source(gold: str, done: Path, workers: VerifierPool) -> None:
    first = job_in(done, workers, Model())
    truth = list(annotations_by(first, "oracle").values())
    for shard in (0, 1):
        first.dataset.write_part(annotations(gold), shard, truth, "gold")
    # Every parameter that takes a method's name is set to the gold.
    labeler = {
        "use": "consensus",
        "rule": "majority",
        "min_agreeing": 1,
        "trust": "verdicts",
        "formal": [gold],
        "monte_carlo": [gold],
        "judge": gold,
    }
    changes: dict[str, Any] = {"label": labeler, "annotators": [{"use": "formal"}]}
    job = await label(job_in(done, workers, Model(), **changes))
    assert gold in job.dataset.methods("annotations")
    labels = list(job.dataset.read(LABELS))
    for row in labels:
        assert set(row.sources) <= {"formal"}
    assert any(not row.kept for row in labels)


async def test_existing_traces_need_no_engine(done: Path, workers: VerifierPool) -> None:
    before = parts(done)
    changes: dict[str, Any] = {
        "engine": None,
        "problems": None,
        "annotators": [{"use": "formal"}],
        "label": {
            "use": "consensus",
            "rule": "majority",
            "min_agreeing": 1,
            "trust": "verdicts",
        },
    }
    job = await label(job_in(done, workers, Model(), **changes))
    assert changed_tables(before, parts(done)) == {"labels"}
    assert any(column(job.dataset.read(LABELS), "kept"))


async def test_missing_input_part_is_named(folder: Path, workers: VerifierPool) -> None:
    job = job_in(folder, workers, Model())
    await job.make_problems()
    with pytest.raises(DatasetError, match="traces has no complete part 0: run again to make it"):
        await job.make_annotations(0, "formal")


async def test_trace_without_problem_fails(done: Path, workers: VerifierPool) -> None:
    annotators = [{"use": "formal", "name": "again"}]
    job = job_in(done, workers, Model(), annotators=annotators, label=None)
    missing, *remaining = job.dataset.read_part(PROBLEMS, 0)
    footer = job.dataset.footer(PROBLEMS, 0)
    assert footer is not None
    job.dataset.write_part(PROBLEMS, 0, remaining, footer.part_key)
    message = f"part 0 of problems has no problem with id {missing.problem_id}"
    with pytest.raises(DatasetError, match=message):
        await job.make_annotations(0, "again")


# A labeler with fitted parameters, which depend on the annotations of all shards.
FUSION = {"use": "fusion", "threshold": 0.5}


async def test_new_shard_refits_the_labeler(folder: Path, workers: VerifierPool) -> None:
    await run_in(folder, workers, Model(), label=FUSION)
    before = parts(folder)
    job = await run_in(folder, workers, Model(), label=FUSION, problems=SEVEN_PROBLEMS)
    after = parts(folder)
    assert rewritten_tables(before, after) == {"labels"}
    check_never_mixed(job.dataset)
    await run_in(folder, workers, Model(), label=FUSION, problems=SEVEN_PROBLEMS)
    assert parts(folder) == after


async def test_gold_changes_the_fitted_labels(folder: Path, workers: VerifierPool) -> None:
    without_gold = labels_of(await run_in(folder, workers, Model(), label=FUSION))
    job = await run_in(folder, workers, Model(), label={**FUSION, "gold": "oracle"})
    with_gold = labels_of(job)
    before = [without_gold[trace_id].confidence for trace_id in with_gold]
    assert column(with_gold.values(), "confidence") != before
    assert not any("oracle" in row.sources for row in with_gold.values())


async def test_new_gold_remakes_the_labels(folder: Path, workers: VerifierPool) -> None:
    job = await run_in(folder, workers, Model())
    labels_parts = list[Parts]()
    # The second round repeats the first one, and the third has other ground truth.
    for confidence in (None, None, 1.0):
        for shard in job.dataset.shards(TRACES):
            truth = list[Annotation]()
            for row in job.dataset.read_part(annotations("oracle"), shard):
                truth.append(replace(row, confidence=confidence))
            job.dataset.write_part(annotations("human"), shard, truth, "imported")
        await run_in(folder, workers, Model(), label={**FUSION, "gold": "human"})
        made = parts(folder)
        labels_parts.append({name: made[name] for name in made if name.startswith("labels")})
    assert labels_parts[0] == labels_parts[1]
    for name, state in labels_parts[1].items():
        assert labels_parts[2][name] != state


async def test_missing_gold_is_an_error(folder: Path, workers: VerifierPool) -> None:
    message = r"\[label\] gold = 'human': .* has no annotations of that name"
    with pytest.raises(ConfigError, match=message):
        await run_in(folder, workers, Model(), label={**FUSION, "gold": "human"})


# Each of these filters drops some traces of `RUN`.
FILTERS: list[dict[str, Any]] = [
    {"use": "length", "min_steps": 4},
    {"use": "duplicates"},
    {"use": "balance"},
]


def filter_names(labels: Sequence[Label]) -> set[str]:
    """Return the filters, or other causes, that the reasons of labels start with."""
    return {row.reason.partition(": ")[0] for row in labels}


def check_balanced(job: Job) -> None:
    kept = kept_labels(job)
    assert 2 * column(kept, "first_error").count(NO_ERROR) == len(kept)


async def test_dropped_traces_keep_their_rows(done: Path, workers: VerifierPool) -> None:
    before = labels_of(job_in(done, workers, Model()))
    job = await run_in(done, workers, Model(), filters=FILTERS)
    after = labels_of(job)
    assert list(after) == list(before)
    dropped = dict[str, Label]()
    for name, row in after.items():
        if before[name].kept and not row.kept:
            dropped[name] = row
        else:
            assert replace(row, fingerprint="") == replace(before[name], fingerprint="")
    assert filter_names(list(dropped.values())) == {"length", "duplicates", "balance"}
    for name, row in dropped.items():
        assert set(column(row.steps, "label")) == {U}
        assert column(row.steps, "value") == column(before[name].steps, "value")
        restored = replace(row, kept=True, reason="", steps=(), fingerprint="")
        assert restored == replace(before[name], reason="", steps=(), fingerprint="")
    steps = {trace.trace_id: len(trace.steps) for trace in job.dataset.read(TRACES)}
    too_short = {name for name, row in before.items() if row.kept and steps[name] < 4}
    dropped_by_length = set[str]()
    for name, row in dropped.items():
        if row.reason == f"length: {steps[name]} steps, not 4 to 64":
            dropped_by_length.add(name)
    assert dropped_by_length == too_short
    check_balanced(job)
    check_never_mixed(job.dataset)


async def test_filters_run_in_order(done: Path, workers: VerifierPool) -> None:
    # The second filter sees only the labels that the first one keeps.
    confidence = {"use": "confidence", "threshold": 1.0}
    # No trace with a step is short enough, so this filter drops all that it sees.
    length = {"use": "length", "max_steps": 0}
    job = await run_in(done, workers, Model(), filters=[confidence, length])
    assert "length" in filter_names([row for row in job.dataset.read(LABELS) if row.steps])
    job = await run_in(done, workers, Model(), filters=[length, confidence])
    assert "confidence" not in filter_names(list(job.dataset.read(LABELS)))


async def test_changed_filter_sends_no_request(done: Path, workers: VerifierPool) -> None:
    for filters in (FILTERS, FILTERS[:1], [{"use": "confidence"}], FILTERS[::-1]):
        before = parts(done)
        model = Model()
        await run_in(done, workers, model, filters=filters)
        assert model.requests == []
        after = parts(done)
        assert changed_tables(before, after) == {"labels"}
        await run_in(done, workers, model, filters=filters)
        assert parts(done) == after


async def test_changed_evaluation_set_remakes_labels(
    done: Path, tmp_path: Path, workers: VerifierPool
) -> None:
    evaluation = tmp_path / "test.jsonl"
    model = Model()
    against = {"use": "files", "paths": [str(evaluation)]}
    filters = [{"use": "contamination", "against": [against]}]
    for problem in model.problems[:2]:
        write_rows(evaluation, [{"question": problem.question}])
        job = await run_in(done, workers, model, filters=filters)
        contaminated = set[str]()
        kept = set[str]()
        for row in job.dataset.read(LABELS):
            if row.reason == "contamination: 100% of question 1 of test.jsonl":
                contaminated.add(row.trace_id)
            if row.kept:
                kept.add(row.trace_id)
        of_problem = set[str]()
        for trace in job.dataset.read(TRACES):
            if trace.problem_id == problem.problem_id:
                of_problem.add(trace.trace_id)
        assert contaminated
        assert contaminated <= of_problem
        assert not kept & of_problem


async def test_more_problems_filter_all_shards(done: Path, workers: VerifierPool) -> None:
    await run_in(done, workers, Model(), filters=FILTERS)
    before = parts(done)
    job = await run_in(done, workers, Model(), filters=FILTERS, problems=SEVEN_PROBLEMS)
    assert rewritten_tables(before, parts(done)) == {"labels"}
    check_balanced(job)
    check_never_mixed(job.dataset)


async def test_killed_filter_leaves_no_labels(
    done: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # Balance is the last filter, so the interruption comes after the two others.
    monkeypatch.setattr(Balance, "drop", interrupt)
    job = job_in(done, workers, Model(), filters=FILTERS)
    with pytest.raises(KeyboardInterrupt):
        await run(job)
    assert job.dataset.shards(LABELS) == ()


async def test_labels_are_filtered_after_fitting(folder: Path, workers: VerifierPool) -> None:
    fitted = labels_of(await run_in(folder, workers, Model(), label=FUSION))
    confidences = dict[str, float]()
    for name, row in fitted.items():
        if row.kept and row.confidence is not None:
            confidences[name] = row.confidence
    # A threshold that drops some of the labels and keeps some.
    median = sorted(confidences.values())[len(confidences) // 2]
    filters = [{"use": "confidence", "threshold": median}]
    job = await run_in(folder, workers, Model(), label=FUSION, filters=filters)
    expected = {name for name, confidence in confidences.items() if confidence >= median}
    assert set(column(kept_labels(job), "trace_id")) == expected
    assert len(expected) < len(confidences)


async def test_prover_samples_only_its_rollouts(folder: Path, workers: VerifierPool) -> None:
    # A wrong answer to all problems.
    reply = "The answer is -7."
    annotators = [
        {"use": "monte_carlo", "rollouts": 1},
        {"use": "monte_carlo", "name": "prover", "engine": "prover_engine", "rollouts": 1},
    ]
    job = await run_in(
        folder,
        workers,
        Model(skill=1.0),
        annotators=annotators,
        prover_engine={"use": "scripted", "replies": {"": [reply]}, "context": 100_000},
        label=None,
    )
    by_prover = list(job.dataset.read(rollouts("prover")))
    by_engine = list(job.dataset.read(rollouts("monte_carlo")))
    assert set(column(by_prover, "text")) == {reply}
    assert set(column(by_prover, "outcome")) == {I}
    assert reply not in set(column(by_engine, "text"))


async def test_event_loop_never_blocks(
    folder: Path, workers: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File I/O, oracles and labelers run in threads."""
    job = job_in(folder, workers, Model())
    shards = range(len(await job.make_problems()))
    loop_thread = threading.get_ident()
    calls = Counter[str]()

    def watch(owner: object, name: str) -> None:
        method = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            assert threading.get_ident() != loop_thread, name
            calls[name] += 1
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    for name in ("reading", "writing"):
        watch(Folder, name)
    watch(Dataset, "footer")
    watch(oracle, "_oracle_annotation")
    watch(Consensus, "label")
    for shard in shards:
        await job.make_traces(shard)
        await job.make_oracle(shard)
        for method in job.plan.annotators:
            await job.make_annotations(shard, method)
        await job.labelling.label(shard)
    # Each watched function ran, so that the check in `watched` was effective.
    assert calls.keys() == {"reading", "writing", "footer", "_oracle_annotation", "label"}


# Without the veto, the formal method cannot drop the labels of tree search.
TREE: dict[str, Any] = {
    "annotators": [{"use": "tree_search", "rollouts": 4, "searches": 4}, {"use": "formal"}],
    "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1, "formal_veto": False},
}


def drifting_model() -> Model:
    """Return a model that may replace the number in any line and continues as if it were correct.

    The mistakes differ between completions, so that a search finds many different traces.
    """
    model = Model()

    def drift(prompt: Prompt, sampling: Sampling, index: int) -> str:
        problem = model.problem_of(prompt)
        gold = problem.metadata["gold"].splitlines(keepends=True)
        chance = random.Random(sampling.seed + index)
        lines = list[str]()
        for line in gold[prompt.prefix.count("\n") : -1]:
            # About one mistake in a solution of four steps.
            if chance.random() < 0.25:
                line = line.replace(" = ", f" = {chance.randint(1, 9)}")
            lines.append(line)
        is_correct = prompt.prefix + "".join(lines) == "".join(gold[:-1])
        return "".join(lines) + f"The answer is {int(problem.answer or 0) + (not is_correct)}."

    model.before = drift
    return model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_tree(tmp_path_factory: pytest.TempPathFactory, workers: VerifierPool) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "data"
    await run_in(folder, workers, drifting_model(), **TREE)
    return folder


@pytest.fixture
def tree(folder: Path, first_tree: Path) -> Path:
    """A folder with a run that has discovered traces."""
    return Path(shutil.copytree(first_tree, folder))


async def test_discovered_traces_are_labelled(tree: Path, workers: VerifierPool) -> None:
    job = job_in(tree, workers, drifting_model(), **TREE)
    check_never_mixed(job.dataset)
    sampled = column(job.dataset.read(TRACES), "trace_id")
    new = column(job.dataset.read(discovered("tree_search")), "trace_id")
    truth = annotations_by(job, "oracle")
    labels = labels_of(job)
    assert list(truth) == list(labels)
    assert sorted(truth) == sorted([*sampled, *new])
    # Other methods annotate sampled traces only.
    assert list(annotations_by(job, "formal")) == sampled
    kept = [trace_id for trace_id in new if labels[trace_id].kept]
    # Enough traces are kept for the loop below to check something.
    assert len(kept) > 3
    for trace_id in kept:
        assert labels[trace_id].first_error == truth[trace_id].first_error
        assert labels[trace_id].sources == ("tree_search",)
    costs = column(annotations_by(job, "tree_search").values(), "cost")
    sampled_rollouts = sum(column(costs, "rollouts"))
    assert sampled_rollouts == job.dataset.count(rollouts("tree_search")) > 0


async def test_discovered_traces_have_a_lineage(tree: Path, workers: VerifierPool) -> None:
    dataset = job_in(tree, workers, drifting_model(), **TREE).dataset
    lineage = """
    SELECT t.found_by, p.problem_id = t.problem_id,
           p.steps[:t.parent_steps] = t.steps[:t.parent_steps],
           ends_with(array_to_string(t.steps, ''), r.text), count(*)
    FROM traces t
    JOIN traces p ON t.parent_trace_id = p.trace_id
    JOIN rollouts r ON r.rollout_id = t.rollout_id
    GROUP BY ALL
    """
    discovered_traces = dataset.count(discovered("tree_search"))
    assert list(values(query(dataset, lineage))) == [
        ("tree_search", True, True, True, discovered_traces)
    ]


@pytest.mark.parametrize(
    ("changes", "remade"),
    [
        ({}, set()),
        ({"label": {"use": "fusion"}}, {"labels"}),
        ({"filters": [{"use": "length"}]}, {"labels"}),
        (
            {
                "annotators": [
                    {"use": "tree_search", "rollouts": 4, "searches": 1},
                    {"use": "formal"},
                ]
            },
            {
                "annotations/tree_search",
                "rollouts/tree_search",
                "discovered/tree_search",
                "annotations/oracle",
                "labels",
            },
        ),
        ({"annotators": [{"use": "formal"}]}, {"annotations/oracle", "labels"}),
    ],
    ids=["nothing", "labeler", "filter", "searches", "without"],
)
async def test_change_remakes_discovered_traces(
    changes: dict[str, Any], remade: set[str], tree: Path, workers: VerifierPool
) -> None:
    before = parts(tree)
    model = drifting_model()
    job = await run_in(tree, workers, model, **{**TREE, **changes})
    after = parts(tree)
    assert changed_tables(before, after) == remade
    # Fewer searches begin like more of them: all their completions are stored.
    assert model.requests == []
    check_never_mixed(job.dataset)


async def test_killed_run_mixes_no_discoveries(tree: Path, workers: VerifierPool) -> None:
    shutil.rmtree(tree / "annotations" / "tree_search")
    job = job_in(tree, workers, drifting_model(), **TREE, seed=2)
    check_never_mixed((await run(job)).dataset)


async def test_relabelling_keeps_discovered_traces(tree: Path, workers: VerifierPool) -> None:
    before = labels_of(job_in(tree, workers, drifting_model(), **TREE))
    changed = {**TREE, "label": TREE["label"] | {"formal": []}}
    job = await label(job_in(tree, workers, drifting_model(), **changed))
    assert list(labels_of(job)) == list(before)


async def test_failed_search_affects_one_problem(folder: Path, workers: VerifierPool) -> None:
    model = drifting_model()
    problem = model.problems[1]
    drift = model.before
    assert drift is not None

    def reject_rollouts(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if prompt.prefix and problem.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return drift(prompt, sampling, index)

    model.before = reject_rollouts
    job = await run_in(folder, workers, model, **TREE)
    problem_of = {name: trace.problem_id for name, trace in traces_of(job.dataset).items()}
    failed = set[str]()
    for trace_id, annotation in annotations_by(job, "tree_search").items():
        if annotation.error:
            failed.add(problem_of[trace_id])
    assert failed == {problem.problem_id}
    # All four traces of the problem share one search.
    assert job.meter.failed["tree_search"] == 4
    for trace_id, row in labels_of(job).items():
        if problem_of[trace_id] == problem.problem_id and row.kept:
            assert "tree_search" not in row.sources
