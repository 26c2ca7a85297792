"""The stages: whole parts, made once; a change remakes what depends on it and nothing else, and rows of two makings never mix."""

import json
import os
import random
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from annotators.labelers.consensus import Consensus
from engines.base import Completion, Prompt
from filters.balance import Balance
from pipelines.run import oracle as stages
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
from tests.pipelines.simulated import (
    RUN,
    Model,
    is_judging,
    job_in,
    label,
    parts,
    problems_of,
    run,
    wanted,
)
from verifiers.isolation.pool import Isolated

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = ("monte_carlo", "binary_search", "judge", "formal")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[Isolated]:
    async with Isolated(workers=1) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_run(tmp_path_factory: pytest.TempPathFactory, workers: Isolated) -> Path:
    return Path(
        (await run(job_in(tmp_path_factory.mktemp("first") / "data", workers, Model()))).dataset.uri
    )


@pytest.fixture
def done(folder: Path, first_run: Path) -> Path:
    """A folder in which the run has been."""
    return Path(shutil.copytree(first_run, folder))


def tables(changed: set[str]) -> set[str]:
    return {name.rpartition("/")[0] for name in changed}


def said(job: Job, method: str) -> Mapping[str, Annotation]:
    return {annotation.trace_id: annotation for annotation in job.dataset.read(annotations(method))}


EVIDENCE: Mapping[str, Callable[[str], Table[Any]]] = {
    "rollouts": rollouts,
    "critiques": critiques,
    "discovered": discovered,
}


def evidence(dataset: Dataset) -> list[Table[Any]]:
    """What annotations rest on."""
    found = (map(table_of, dataset.methods(kind)) for kind, table_of in EVIDENCE.items())
    return [table for tables_of_kind in found for table in tables_of_kind]


def traces_of(dataset: Dataset) -> Mapping[str, Trace]:
    """The run's own, then those that were discovered."""
    kinds: list[Table[Any]] = [TRACES, *map(discovered, dataset.methods("discovered"))]
    return {trace.trace_id: trace for table in kinds for trace in dataset.read(table)}


def check_never_mixed(dataset: Dataset) -> None:
    """Evidence stands beside its annotations, rows of a table bear one fingerprint, and none speaks of a trace that is not there."""
    traces = traces_of(dataset).keys()
    assert {trace.problem_id for trace in traces_of(dataset).values()} <= {
        problem.problem_id for problem in dataset.read(PROBLEMS)
    }
    assert dataset.shards(PROBLEMS) == dataset.shards(REJECTED) == dataset.shards(TRACES)
    for table in evidence(dataset):
        stamps = {shard: dataset.footer(table, shard) for shard in dataset.shards(table)}
        said = {shard: dataset.footer(annotations(table.method or ""), shard) for shard in stamps}
        assert {shard: stamp.fingerprint for shard, stamp in stamps.items() if stamp} == {
            s: f.fingerprint for s, f in said.items() if f
        }
    assert len({label.fingerprint for label in dataset.read(LABELS)}) <= 1
    for method in dataset.methods("annotations"):
        rows = list(dataset.read(annotations(method)))
        assert len({row.fingerprint for row in rows}) == 1
        assert {row.trace_id for row in rows} <= traces
    for table in evidence(dataset):
        assert {row.trace_id for row in dataset.read(table)} <= traces


async def test_a_run_makes_every_table_and_what_they_say_is_true(
    done: Path, workers: Isolated
) -> None:
    job = job_in(done, workers, Model())
    assert (job.dataset.count(PROBLEMS), job.dataset.count(TRACES), job.dataset.count(LABELS)) == (
        4,
        16,
        16,
    )
    assert job.dataset.methods("annotations") == (
        "binary_search",
        "formal",
        "judge",
        "monte_carlo",
        "oracle",
    )
    assert job.dataset.methods("rollouts") == ("binary_search", "monte_carlo")
    assert job.dataset.methods("critiques") == ("judge",)
    check_never_mixed(job.dataset)
    truth = said(job, "oracle")
    traces = {trace.trace_id: trace for trace in job.dataset.read(TRACES)}
    assert Counter(trace.outcome for trace in traces.values()).keys() == {C, I}
    assert len(truth) == len(traces) == 16
    for method in METHODS:
        for trace_id, annotation in said(job, method).items():
            assert (annotation.error, len(annotation.steps)) == (None, len(traces[trace_id].steps))
            if method in ("judge", "formal"):
                assert annotation.first_error in (None, truth[trace_id].first_error)
    assert all(annotation.first_error is not None for annotation in said(job, "judge").values())
    kept = [found for found in job.dataset.read(LABELS) if found.kept]
    assert len(kept) > 8
    assert all(found.first_error == truth[found.trace_id].first_error for found in kept)
    assert {found.first_error == NO_ERROR for found in kept} == {True, False}


async def test_every_trace_and_rollout_has_a_name_and_a_seed_of_its_own(
    done: Path, workers: Isolated
) -> None:
    job = job_in(done, workers, Model())
    seeds = sorted(trace.sampling.seed for trace in job.dataset.read(TRACES) if trace.sampling)
    assert len({trace.trace_id for trace in job.dataset.read(TRACES)}) == len(seeds) == 16
    assert [after - before for before, after in pairwise(seeds)].count(1) == 12
    for method in job.dataset.methods("rollouts"):
        spent = list(job.dataset.read(rollouts(method)))
        assert (
            len({rollout.rollout_id for rollout in spent})
            == len({rollout.seed for rollout in spent})
            == len(spent)
        )
        assert len(spent) == sum(
            annotation.cost.rollouts for annotation in said(job, method).values()
        )


async def test_every_vote_of_a_judge_is_found_again_beside_what_it_came_to(
    done: Path, workers: Isolated
) -> None:
    job = job_in(done, workers, Model())
    found = defaultdict[str, list[Critique]](list)
    for critique in job.dataset.read(critiques("judge")):
        found[critique.trace_id].append(critique)
    for trace_id, annotation in said(job, "judge").items():
        assert [critique.vote for critique in found[trace_id]] == [0, 1]
        assert {critique.first_error for critique in found[trace_id]} == {annotation.first_error}
        assert (
            sum(critique.generated_tokens for critique in found[trace_id])
            == annotation.cost.generated_tokens
        )
        for index, step in enumerate(annotation.steps):
            assert [critique.verdicts[index] for critique in found[trace_id]].count(
                C
            ) == step.successes


async def test_a_trace_is_the_models_text_and_a_rollout_goes_on_with_it(
    folder: Path, workers: Isolated
) -> None:
    job = await run(job_in(folder, workers, Model(skill=1.0)))
    problems = problems_of(job)
    traces = {trace.trace_id: trace for trace in job.dataset.read(TRACES)}
    for trace in traces.values():
        assert "".join(trace.steps) == problems[trace.problem_id].metadata["gold"]
        assert (trace.outcome, trace.final_answer, trace.model) == (
            C,
            problems[trace.problem_id].answer,
            "scripted",
        )
    for rollout in job.dataset.read(rollouts("monte_carlo")):
        trace = traces[rollout.trace_id]
        assert "".join(trace.steps[: rollout.prefix_steps]) + rollout.text == "".join(trace.steps)


async def test_the_same_run_file_asks_for_the_same_things_and_says_the_same(
    tmp_path: Path, workers: Isolated
) -> None:
    first, second = Model(), Model()
    jobs = [
        await run(job_in(tmp_path / name, workers, model))
        for name, model in (("a", first), ("b", second))
    ]
    assert Counter(map(repr, first.asked)) == Counter(map(repr, second.asked))
    made: list[Table[Any]] = [PROBLEMS, TRACES, LABELS, annotations("oracle")]
    for table in made:
        one, other = ([row for row in job.dataset.read(table)] for job in jobs)
        assert one == other
    assert all(sampling.seed % SEED_SPACING == 0 for _, sampling in first.asked)


async def test_a_run_started_again_does_nothing(done: Path, workers: Isolated) -> None:
    before, again = parts(done), Model()
    job = await run(job_in(done, workers, again))
    assert (again.asked, parts(done)) == ([], before)
    assert not {"traces", "labels", *METHODS} & job.meter.done.keys()


DOWNSTREAM = {
    *("rollouts/monte_carlo", "rollouts/binary_search", "critiques/judge", "labels"),
    *(f"annotations/{m}" for m in (*METHODS, "oracle")),
}
ALL = {"problems", "rejected", "traces", *DOWNSTREAM}


@pytest.mark.parametrize(
    ("changes", "remade"),
    [
        (
            {"shards": {"problems_per_shard": 2, "shards_in_flight": 1}, "prices": {"prompt": 1.0}},
            set(),
        ),
        ({"shards": {"problems_per_shard": 3}}, ALL),
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
        ({"filters": [{"use": "length"}]}, {"labels"}),
        ({"annotators": RUN["annotators"][:3]}, {"labels"}),
        (
            {"annotators": [*RUN["annotators"], {"use": "formal", "name": "other"}]},
            {"annotations/other", "labels"},
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
async def test_a_change_remakes_what_depends_on_it_and_nothing_else(
    changes: dict[str, Any], remade: set[str], done: Path, workers: Isolated
) -> None:
    before = parts(done)
    job = await run(job_in(done, workers, Model(), **changes))
    after = parts(done)
    assert (
        tables(
            {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        )
        == remade
    )
    assert (
        tables({name for name in after if before.get(name) == after[name]})
        == tables(set(after)) - remade
    )
    check_never_mixed(job.dataset)
    assert {trace.trace_id for trace in job.dataset.read(TRACES)} == {
        found.trace_id for found in job.dataset.read(LABELS)
    }


async def test_more_problems_leave_what_is_finished_as_it_is(done: Path, workers: Isolated) -> None:
    before, more = parts(done), Model()
    job = await run(job_in(done, workers, more, problems=RUN["problems"] | {"count": 7}))
    after = parts(done)
    assert {name: after[name] for name in before} == before
    assert {name.rpartition("/")[2] for name in after.keys() - before.keys()} == {
        "part-00002.parquet",
        "part-00003.parquet",
    }
    assert job.dataset.count(TRACES) == 4 * 7
    check_never_mixed(job.dataset)


async def test_a_shard_that_gains_problems_keeps_the_names_of_its_traces(
    folder: Path, workers: Isolated
) -> None:
    three = await run(job_in(folder, workers, Model(), problems=RUN["problems"] | {"count": 3}))
    before = {trace.trace_id: trace for trace in three.dataset.read(TRACES)}
    four = await run(job_in(folder, workers, Model()))
    assert {
        trace.trace_id: trace for trace in four.dataset.read(TRACES) if trace.trace_id in before
    } == before
    check_never_mixed(four.dataset)


async def test_fewer_problems_leave_nothing_of_the_more_behind(
    done: Path, workers: Isolated
) -> None:
    job = await run(job_in(done, workers, Model(), problems=RUN["problems"] | {"count": 1}))
    assert {
        name: job.dataset.count(table)
        for name, table in (("problems", PROBLEMS), ("traces", TRACES))
    } == {"problems": 1, "traces": 4}
    assert {name.rpartition("/")[2] for name in parts(done)} == {"part-00000.parquet"}


async def test_writing_a_shard_of_problems_does_not_look_through_those_before_it(
    folder: Path, workers: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, footer, count = Counter[int](), Dataset.footer, 12

    def watch(dataset: Dataset, table: Table[Any], shard: int) -> Footer | None:
        looked[shard] += 1
        return footer(dataset, table, shard)

    monkeypatch.setattr(Dataset, "footer", watch)
    one_each = {"problems": RUN["problems"] | {"count": count}, "shards": {"problems_per_shard": 1}}
    assert len(await job_in(folder, workers, Model(), **one_each).make_problems()) == count
    assert max(looked.values()) <= 2 * len((PROBLEMS, REJECTED))


async def test_a_method_that_is_no_longer_named_stays_as_long_as_its_traces_do(
    done: Path, workers: Isolated
) -> None:
    without = {"annotators": RUN["annotators"][:3]}
    job = await run(job_in(done, workers, Model(), **without))
    assert "formal" in job.dataset.methods("annotations")
    assert not any("formal" in found.sources for found in job.dataset.read(LABELS))
    job = await run(job_in(done, workers, Model(), **without, seed=2))
    assert "formal" not in job.dataset.methods("annotations")
    check_never_mixed(job.dataset)


async def test_without_a_label_table_there_are_no_labels(done: Path, workers: Isolated) -> None:
    job = await run(job_in(done, workers, Model(), label=None))
    assert job.dataset.shards(LABELS) == ()


async def test_a_part_that_is_lost_or_torn_is_made_again_and_no_other(
    done: Path, workers: Isolated
) -> None:
    job = job_in(done, workers, Model())
    before = parts(done)
    torn, lost = (
        done / "annotations/monte_carlo/part-00001.parquet",
        done / "annotations/judge/part-00000.parquet",
    )
    os.truncate(torn, torn.stat().st_size - 1)
    lost.unlink()
    again = Model()
    await run(job_in(done, workers, again))
    changed = {name for name, stamp in parts(done).items() if before[name] != stamp}
    assert changed == {
        f"{name}.parquet"
        for name in (
            *("annotations/monte_carlo/part-00001", "rollouts/monte_carlo/part-00001"),
            *("annotations/judge/part-00000", "critiques/judge/part-00000"),
        )
    }
    prefixes = sum(len(trace.steps) - 1 for trace in job.dataset.read_part(TRACES, 1))
    judged = len(list(job.dataset.read_part(TRACES, 0)))
    assert Counter(is_judging(prompt) for prompt, _ in again.asked) == {
        False: prefixes,
        True: judged,
    }


async def test_what_a_killed_run_left_alone_does_not_mix_with_others(
    done: Path, workers: Isolated
) -> None:
    for method in ("monte_carlo", "judge"):
        shutil.rmtree(done / "annotations" / method)
    others = [
        {"use": "monte_carlo", "rollouts": 2},
        RUN["annotators"][1],
        {"use": "judge", "votes": 1},
        RUN["annotators"][3],
    ]
    job = job_in(done, workers, Model(), annotators=others)
    job.drop_stale(await wanted(job))
    assert (
        job.dataset.shards(rollouts("monte_carlo")) == job.dataset.shards(critiques("judge")) == ()
    )
    await run(job)
    check_never_mixed(job.dataset)


async def test_an_engine_that_is_down_leaves_no_part_and_is_taken_up_where_it_was(
    folder: Path, workers: Isolated
) -> None:
    def down_for_judging(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if is_judging(prompt):
            raise EngineError("connection refused", retryable=True)
        return ""

    job = job_in(folder, workers, Model(before=down_for_judging))
    with pytest.raises(EngineError, match="connection refused"):
        await run(job)
    assert job.dataset.methods("annotations") == ("binary_search", "monte_carlo")
    assert job.dataset.shards(LABELS) == ()
    before, up = parts(folder), Model()
    job = await run(job_in(folder, workers, up))
    assert {name: stamp for name, stamp in parts(folder).items() if name in before} == before
    assert job.dataset.count(LABELS) == 16
    finished = [problem.question for problem in job.dataset.read_part(PROBLEMS, 0)]
    assert not [
        prompt
        for prompt, _ in up.asked
        if not is_judging(prompt) and any(question in prompt.user for question in finished)
    ]


async def test_an_engine_that_is_down_costs_nothing_that_another_wrote(
    done: Path, workers: Isolated
) -> None:
    def down(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("connection refused", retryable=True)

    before = parts(done)
    with pytest.raises(EngineError, match="connection refused"):
        await run(job_in(done, workers, Model(before=down), seed=2))
    assert parts(done) == before
    await run(job_in(done, workers, Model(before=down)))
    assert parts(done) == before


async def test_lost_rows_set_aside_are_written_again(done: Path, workers: Isolated) -> None:
    before = set(parts(done))
    (done / "rejected/part-00001.parquet").unlink()
    await run(job_in(done, workers, Model()))
    assert set(parts(done)) == before


async def test_an_engine_that_is_down_writes_no_traces(folder: Path, workers: Isolated) -> None:
    def down(prompt: Prompt, sampling: Sampling, index: int) -> str:
        raise EngineError("connection refused", retryable=True)

    job = job_in(folder, workers, Model(before=down))
    with pytest.raises(EngineError, match="connection refused"):
        await run(job)
    assert (job.dataset.shards(PROBLEMS), job.dataset.shards(TRACES)) == ((0, 1), ())


async def test_a_method_that_hears_others_knows_what_they_said_and_bought(
    folder: Path, workers: Isolated
) -> None:
    adaptive = {"use": "adaptive_search", "worth": 0.2}
    hearing = [
        {"use": "monte_carlo", "rollouts": 4},
        {"use": "formal"},
        adaptive | {"evidence": ["monte_carlo", "formal"]},
        adaptive | {"name": "deaf"},
    ]
    job = await run(job_in(folder, workers, Model(), annotators=hearing, label=None))
    said = {
        method: list(job.dataset.read(annotations(method)))
        for method in ("adaptive_search", "deaf", "oracle")
    }
    heard, deaf = (
        sum(one.cost.rollouts for one in said[method]) for method in ("adaptive_search", "deaf")
    )
    assert heard < deaf
    found = [
        (one, true)
        for one, true in zip(said["adaptive_search"], said["oracle"], strict=True)
        if one.first_error is not None
    ]
    assert len(found) == len(said["oracle"])
    assert sum(one.first_error == true.first_error for one, true in found) >= 0.7 * len(found)
    assert all(sum(one.posterior) == pytest.approx(1) and one.learned for one, _ in found)


async def test_a_request_that_is_refused_is_recorded_and_trains_nothing(
    folder: Path, workers: Isolated
) -> None:
    model = Model()
    refused = model.problems[0]

    def refuses(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if refused.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return ""

    model.before = refuses
    job = await run(job_in(folder, workers, model))
    found = [trace for trace in job.dataset.read(TRACES) if trace.problem_id == refused.problem_id]
    assert len({trace.trace_id for trace in found}) == 4
    assert {(trace.steps, trace.outcome, trace.outcome_reason) for trace in found} == {
        ((), U, "error: the prompt is too long")
    }
    for method in (*METHODS, "oracle"):
        for trace in found:
            annotation = said(job, method)[trace.trace_id]
            assert (annotation.steps, annotation.first_error, annotation.error) == ((), None, None)
    assert not any(found.kept for found in job.dataset.read(LABELS) if not found.steps)
    rows = list(values(query(job.dataset, "SELECT count(*), count(step_index) FROM steps")))
    steps = sum(len(trace.steps) for trace in job.dataset.read(TRACES))
    assert rows == [(steps, steps)]
    assert len(list(job.dataset.read(TRACES))) == 16


async def test_a_rollout_that_is_refused_fails_one_trace_of_one_method(
    folder: Path, workers: Isolated
) -> None:
    model = Model(skill=0.3)
    chosen = model.problems[1]

    def refuses(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if prompt.prefix and chosen.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return ""

    model.before = refuses
    job = await run(job_in(folder, workers, model))
    failed = {
        trace_id for trace_id, annotation in said(job, "monte_carlo").items() if annotation.error
    }
    traces = [trace for trace in job.dataset.read(TRACES) if trace.problem_id == chosen.problem_id]
    assert failed == {trace.trace_id for trace in traces if len(trace.steps) > 1}
    assert job.meter.failed["monte_carlo"] == len(failed) > 0
    assert not any(annotation.error for annotation in said(job, "judge").values())
    assert not any(
        rollout.trace_id in failed for rollout in job.dataset.read(rollouts("monte_carlo"))
    )


async def test_a_solution_that_was_cut_is_unknown_and_trains_nothing(
    folder: Path, workers: Isolated
) -> None:
    def cut(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        return Completion(
            text="The answer is 0.",
            finish_reason="length",
            prompt_tokens=3,
            cached_tokens=1,
            generated_tokens=2,
        )

    job = await run(job_in(folder, workers, Model(before=cut)))
    assert {(trace.outcome, trace.outcome_reason) for trace in job.dataset.read(TRACES)} == {
        (U, "truncated")
    }
    assert not any(found.kept for found in job.dataset.read(LABELS))
    assert {
        found.first_error
        for method in ("monte_carlo", "binary_search", "judge")
        for found in said(job, method).values()
    } == {None}


async def test_the_meter_counts_what_was_done_and_paid(folder: Path, workers: Isolated) -> None:
    job = await run(job_in(folder, workers, Model()))
    expected = {
        "problems": 4,
        "traces": 16,
        "labels": 16,
        **dict.fromkeys(METHODS, 16),
        "rows set aside": 0,
    }
    assert dict(job.meter.done) == expected
    assert dict(job.meter.total) == {"traces": 16, **dict.fromkeys(METHODS, 16)}
    bills = [trace.generated_tokens for trace in job.dataset.read(TRACES)]
    bills += [
        annotation.cost.generated_tokens
        for method in METHODS
        for annotation in said(job, method).values()
    ]
    assert job.meter.generated_tokens == sum(bills) > 0
    assert job.meter.rollouts == sum(
        job.dataset.count(rollouts(method)) for method in ("monte_carlo", "binary_search")
    )


async def test_rows_that_cannot_be_used_are_set_aside_in_their_shard(
    folder: Path, tmp_path: Path, workers: Isolated
) -> None:
    model = Model()
    rows: list[dict[str, Any]] = [
        {"question": problem.question, "answer": problem.answer} for problem in model.problems[:3]
    ]
    file = tmp_path / "rows.jsonl"
    lines = [
        {"question": ""},
        rows[0],
        rows[1],
        {"answer": "5"},
        rows[1],
        rows[2],
        {"question": None},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = {"use": "files", "paths": [str(file)]}
    job = await run(job_in(folder, workers, model, problems=source))
    assert [row.row for row in job.dataset.read_part(REJECTED, 0)] == [1]
    assert [row.row for row in job.dataset.read_part(REJECTED, 1)] == [4, 5, 7]
    assert all(isinstance(row, Rejected) and row.reason for row in job.dataset.read(REJECTED))
    assert [job.dataset.count(table) for table in (PROBLEMS, TRACES)] == [3, 12]
    assert "oracle" not in job.dataset.methods("annotations")
    assert (job.meter.done["problems"], job.meter.done["rows set aside"]) == (3, 4)


async def test_a_problem_whose_reference_cannot_be_graded_against_is_set_aside_and_not_run(
    folder: Path, tmp_path: Path, workers: Isolated
) -> None:
    model = Model()
    rows: list[dict[str, Any]] = [
        {"question": problem.question, "answer": problem.answer} for problem in model.problems[:5]
    ]
    rows[0]["answer"] = "1, 2, ..."
    rows[2]["answer"] = r"\frac{1}{0}"
    del rows[4]["answer"]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = await run(
        job_in(
            folder,
            workers,
            model,
            problems={"use": "files", "paths": [str(file)]},
            annotators=[],
            label=None,
        )
    )
    assert [problem.answer for problem in job.dataset.read(PROBLEMS)] == [
        rows[1]["answer"],
        rows[3]["answer"],
        None,
    ]
    aside = list(job.dataset.read(REJECTED))
    assert [(row.row, row.field) for row in aside] == [(1, "answer"), (3, "answer")]
    assert [row.reason for row in aside] == [
        "no answer could be compared with it: not understood: a sign that is not understood",
        "no answer could be compared with it: no value",
    ]
    assert {trace.problem_id for trace in job.dataset.read(TRACES)} == {
        problem.problem_id for problem in job.dataset.read(PROBLEMS)
    }
    before = parts(folder)
    await run(
        job_in(
            folder,
            workers,
            model,
            problems={"use": "files", "paths": [str(file)]},
            annotators=[],
            label=None,
        )
    )
    assert parts(folder) == before


async def test_a_source_of_ungradable_problems_only_is_told(
    folder: Path, tmp_path: Path, workers: Isolated
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"question": f"What is {n}?", "answer": "..."}) + "\n" for n in range(5))
    )
    with pytest.raises(
        DatasetError,
        match=r"no usable problem, nothing was changed; .*row 1, field 'answer': no answer could be compared",
    ):
        await run(job_in(folder, workers, Model(), problems={"use": "files", "paths": [str(file)]}))


@pytest.mark.parametrize("gold", ["oracle", "human"])
async def test_gold_is_never_a_source_of_labels(gold: str, done: Path, workers: Isolated) -> None:
    made = job_in(done, workers, Model())
    truth = list(said(made, "oracle").values())
    for shard in (0, 1):
        made.dataset.write_part(annotations(gold), shard, truth, "gold")
    greedy = {
        "use": "consensus",
        "rule": "majority",
        "min_agreeing": 1,
        "formal": [gold],
        "monte_carlo": [gold],
        "judge": gold,
    }
    job = await label(job_in(done, workers, Model(), label=greedy, annotators=[{"use": "formal"}]))
    labels = list(job.dataset.read(LABELS))
    assert gold in job.dataset.methods("annotations")
    assert {source for found in labels for source in found.sources} <= {"formal"}
    assert any(not found.kept for found in labels)


async def test_traces_that_exist_are_labelled_without_an_engine(
    done: Path, workers: Isolated
) -> None:
    before = parts(done)
    rule = {"use": "consensus", "rule": "majority", "min_agreeing": 1}
    alone = {"engine": None, "problems": None, "annotators": [{"use": "formal"}], "label": rule}
    job = await label(job_in(done, workers, Model(), **alone))
    assert tables({name for name, stamp in parts(done).items() if before.get(name) != stamp}) == {
        "labels"
    }
    assert any(found.kept for found in job.dataset.read(LABELS))


async def test_what_is_built_on_a_missing_part_says_which(folder: Path, workers: Isolated) -> None:
    job = job_in(folder, workers, Model())
    await job.make_problems()
    with pytest.raises(DatasetError, match="traces has no complete part 0: run again to make it"):
        await job.make_annotations(0, "formal")


async def test_a_trace_of_no_problem_is_told(done: Path, workers: Isolated) -> None:
    job = job_in(
        done, workers, Model(), annotators=[{"use": "formal", "name": "again"}], label=None
    )
    problems = list(job.dataset.read_part(PROBLEMS, 0))
    stamp = job.dataset.footer(PROBLEMS, 0)
    assert stamp is not None
    job.dataset.write_part(PROBLEMS, 0, problems[1:], stamp.fingerprint)
    with pytest.raises(
        DatasetError, match=f"part 0 of problems has no problem with id {problems[0].problem_id}"
    ):
        await job.make_annotations(0, "again")


FUSION = {"use": "fusion", "threshold": 0.5}


async def test_a_labeler_that_learns_labels_all_shards_anew_when_one_is_added(
    folder: Path, workers: Isolated
) -> None:
    before = parts(Path((await run(job_in(folder, workers, Model(), label=FUSION))).dataset.uri))
    more = await run(
        job_in(folder, workers, Model(), label=FUSION, problems=RUN["problems"] | {"count": 7})
    )
    after = parts(folder)
    assert tables({name for name in before if before[name] != after[name]}) == {"labels"}
    check_never_mixed(more.dataset)
    again = parts(folder)
    await run(
        job_in(folder, workers, Model(), label=FUSION, problems=RUN["problems"] | {"count": 7})
    )
    assert parts(folder) == again


async def test_gold_helps_a_labeler_to_learn_and_is_no_source(
    folder: Path, workers: Isolated
) -> None:
    blind = {
        label.trace_id: label
        for label in (await run(job_in(folder, workers, Model(), label=FUSION))).dataset.read(
            LABELS
        )
    }
    taught = await run(job_in(folder, workers, Model(), label={**FUSION, "gold": "oracle"}))
    labels = list(taught.dataset.read(LABELS))
    assert [label.confidence for label in labels] != [
        blind[label.trace_id].confidence for label in labels
    ]
    assert not any("oracle" in label.sources for label in labels)


async def test_other_gold_makes_the_labels_anew(folder: Path, workers: Isolated) -> None:
    job = await run(job_in(folder, workers, Model()))
    truth = {
        shard: list(job.dataset.read_part(annotations("oracle"), shard))
        for shard in job.dataset.shards(TRACES)
    }
    made = list[Mapping[str, tuple[int, int]]]()
    for stamp in ("some", "some", "other"):
        for shard, told in truth.items():
            job.dataset.write_part(annotations("human"), shard, told, stamp)
        await run(job_in(folder, workers, Model(), label={**FUSION, "gold": "human"}))
        made.append(
            {name: content for name, content in parts(folder).items() if name.startswith("labels")}
        )
    assert made[0] == made[1]
    assert all(made[1][name] != made[2][name] for name in made[1])


FILTERS: list[dict[str, Any]] = [
    {"use": "length", "min_steps": 4},
    {"use": "duplicates"},
    {"use": "balance"},
]


def labels_of(job: Job) -> Mapping[str, Label]:
    return {found.trace_id: found for found in job.dataset.read(LABELS)}


async def test_filters_drop_traces_whose_rows_stay_with_the_reason(
    done: Path, workers: Isolated
) -> None:
    before = labels_of(job_in(done, workers, Model()))
    job = await run(job_in(done, workers, Model(), filters=FILTERS))
    after = labels_of(job)
    assert list(after) == list(before)
    dropped = {
        found.trace_id: found
        for found in after.values()
        if before[found.trace_id].kept and not found.kept
    }
    assert {found.reason.partition(": ")[0] for found in dropped.values()} == {
        "length",
        "duplicates",
        "balance",
    }
    steps = {trace.trace_id: len(trace.steps) for trace in job.dataset.read(TRACES)}
    assert {name for name, found in before.items() if found.kept and steps[name] < 4} == {
        name
        for name, found in dropped.items()
        if found.reason == f"length: {steps[name]} steps, not 4 to 64"
    }
    for name, found in dropped.items():
        assert {step.label for step in found.steps} == {U}
        assert replace(found, kept=True, reason="", steps=(), fingerprint="") == replace(
            before[name], reason="", steps=(), fingerprint=""
        )
        assert [step.value for step in found.steps] == [step.value for step in before[name].steps]
    for name, found in after.items():
        if name not in dropped:
            assert replace(found, fingerprint="") == replace(before[name], fingerprint="")
    kept = Counter(found.first_error == NO_ERROR for found in after.values() if found.kept)
    assert kept[True] == kept[False]
    check_never_mixed(job.dataset)


async def test_a_filter_sees_what_those_before_it_left(done: Path, workers: Isolated) -> None:
    job = await run(
        job_in(
            done,
            workers,
            Model(),
            filters=[{"use": "confidence", "threshold": 1.0}, {"use": "length", "max_steps": 0}],
        )
    )
    reasons = {found.reason.partition(": ")[0] for found in job.dataset.read(LABELS) if found.steps}
    assert "length" in reasons
    other_way = await run(
        job_in(
            done,
            workers,
            Model(),
            filters=[{"use": "length", "max_steps": 0}, {"use": "confidence", "threshold": 1.0}],
        )
    )
    assert "confidence" not in {
        found.reason.partition(": ")[0] for found in other_way.dataset.read(LABELS)
    }


async def test_changing_a_filter_asks_no_model_for_anything(done: Path, workers: Isolated) -> None:
    for filters in (FILTERS, FILTERS[:1], [{"use": "confidence"}], FILTERS[::-1]):
        model, before = Model(), parts(done)
        await run(job_in(done, workers, model, filters=filters))
        assert model.asked == []
        after = parts(done)
        assert tables({name for name in after if before[name] != after[name]}) == {"labels"}
        await run(job_in(done, workers, model, filters=filters))
        assert parts(done) == after


async def test_what_is_evaluated_on_is_dropped_and_another_set_makes_labels_anew(
    done: Path, tmp_path: Path, workers: Isolated
) -> None:
    evaluation, model = tmp_path / "test.jsonl", Model()
    contamination = [
        {"use": "contamination", "against": [{"use": "files", "paths": [str(evaluation)]}]}
    ]
    for problem in model.problems[:2]:
        evaluation.write_text(json.dumps({"question": problem.question}) + "\n")
        job = await run(job_in(done, workers, model, filters=contamination))
        told = {
            found.trace_id
            for found in job.dataset.read(LABELS)
            if found.reason == "contamination: 100% of question 1 of test.jsonl"
        }
        of_problem = {
            trace.trace_id
            for trace in job.dataset.read(TRACES)
            if trace.problem_id == problem.problem_id
        }
        assert told
        assert told <= of_problem
        assert not any(
            found.kept for found in job.dataset.read(LABELS) if found.trace_id in of_problem
        )


async def test_more_problems_change_what_filters_drop_everywhere(
    done: Path, workers: Isolated
) -> None:
    await run(job_in(done, workers, Model(), filters=FILTERS))
    before = parts(done)
    more = await run(
        job_in(done, workers, Model(), filters=FILTERS, problems=RUN["problems"] | {"count": 7})
    )
    assert tables({name for name, stamp in before.items() if parts(done)[name] != stamp}) == {
        "labels"
    }
    kept = Counter(
        found.first_error == NO_ERROR for found in more.dataset.read(LABELS) if found.kept
    )
    assert kept[True] == kept[False]
    check_never_mixed(more.dataset)


async def test_a_run_that_dies_in_a_filter_leaves_no_label_that_was_not_filtered(
    done: Path, workers: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Balance, "drop", dies)
    job = job_in(done, workers, Model(), filters=FILTERS)
    with pytest.raises(KeyboardInterrupt):
        await run(job)
    assert job.dataset.shards(LABELS) == ()


async def test_labels_are_learned_first_and_filtered_then(folder: Path, workers: Isolated) -> None:
    learned = labels_of(await run(job_in(folder, workers, Model(), label=FUSION)))
    sure = sorted(
        found.confidence
        for found in learned.values()
        if found.kept and found.confidence is not None
    )
    middle = sure[len(sure) // 2]
    filtered = labels_of(
        await run(
            job_in(
                folder,
                workers,
                Model(),
                label=FUSION,
                filters=[{"use": "confidence", "threshold": middle}],
            )
        )
    )
    wanted = {
        name
        for name, found in learned.items()
        if found.kept and found.confidence is not None and found.confidence >= middle
    }
    assert {name for name, found in filtered.items() if found.kept} == wanted
    assert len(wanted) < len(sure)


async def test_gold_that_is_not_there_is_told(folder: Path, workers: Isolated) -> None:
    with pytest.raises(
        ConfigError, match=r"\[label\] gold = 'human': .* has no annotations of that name"
    ):
        await run(job_in(folder, workers, Model(), label={**FUSION, "gold": "human"}))


async def test_a_prover_writes_the_rollouts_of_the_method_that_names_it_and_no_other(
    folder: Path, workers: Isolated
) -> None:
    own, prover = (
        {"use": "monte_carlo", "rollouts": 1},
        {"use": "monte_carlo", "name": "prover", "engine": "prover_engine", "rollouts": 1},
    )
    says = {"use": "scripted", "replies": {"": ["The answer is -7."]}, "context": 100_000}
    job = await run(
        job_in(
            folder,
            workers,
            Model(skill=1.0),
            annotators=[own, prover],
            prover_engine=says,
            label=None,
        )
    )
    assert {rollout.text for rollout in job.dataset.read(rollouts("prover"))} == {
        "The answer is -7."
    }
    assert "The answer is -7." not in {
        rollout.text for rollout in job.dataset.read(rollouts("monte_carlo"))
    }
    assert {rollout.outcome for rollout in job.dataset.read(rollouts("prover"))} == {I}


async def test_the_event_loop_neither_reads_nor_writes(
    folder: Path, workers: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the engines' and the annotators': whatever touches a file, or hears an oracle or a labeler, does so in a thread."""
    job = job_in(folder, workers, Model())
    traces = await wanted(job)
    loop, touched = threading.get_ident(), Counter[str]()

    def watched(owner: object, name: str) -> None:
        method = getattr(owner, name)

        def watch(*arguments: Any, **named: Any) -> Any:
            assert threading.get_ident() != loop, name
            touched[name] += 1
            return method(*arguments, **named)

        monkeypatch.setattr(owner, name, watch)

    for name in ("reading", "writing", "has"):
        watched(Folder, name)
    watched(stages, "_oracle_annotation")
    watched(Consensus, "label")
    for shard in traces:
        await job.make_traces(shard)
        await job.make_oracle(shard)
        for method in job.plan.annotators:
            await job.make_annotations(shard, method)
        await job.labelling.label(shard)
    assert touched.keys() == {"reading", "writing", "has", "_oracle_annotation", "label"}


TREE: dict[str, Any] = {
    "annotators": [{"use": "tree_search", "rollouts": 4, "searches": 4}, {"use": "formal"}],
    "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1, "formal_veto": False},
}


def wandering() -> Model:
    """A model that takes a wrong number in any line, another one each time, and goes on as if nothing had been."""
    model = Model()

    def wanders(prompt: Prompt, sampling: Sampling, index: int) -> str:
        problem = next(problem for problem in model.problems if problem.question in prompt.user)
        gold, chance = (
            problem.metadata["gold"].splitlines(keepends=True),
            random.Random(sampling.seed + index),
        )
        begun = prompt.prefix.count("\n")
        lines = [
            line.replace(" = ", f" = {chance.randint(1, 9)}") if chance.random() < 0.25 else line
            for line in gold[begun:-1]
        ]
        sound = prompt.prefix + "".join(lines) == "".join(gold[:-1])
        return "".join(lines) + f"The answer is {int(problem.answer or 0) + (not sound)}."

    model.before = wanders
    return model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_tree(tmp_path_factory: pytest.TempPathFactory, workers: Isolated) -> Path:
    return Path(
        (
            await run(
                job_in(tmp_path_factory.mktemp("tree") / "data", workers, wandering(), **TREE)
            )
        ).dataset.uri
    )


@pytest.fixture
def tree(folder: Path, first_tree: Path) -> Path:
    """A folder in which a run has discovered traces."""
    return Path(shutil.copytree(first_tree, folder))


async def test_discovered_traces_are_judged_labelled_and_truly_so(
    tree: Path, workers: Isolated
) -> None:
    job = job_in(tree, workers, wandering(), **TREE)
    check_never_mixed(job.dataset)
    own, found = list(job.dataset.read(TRACES)), list(job.dataset.read(discovered("tree_search")))
    truth, labels = said(job, "oracle"), labels_of(job)
    assert list(truth) == list(labels)
    assert sorted(truth) == sorted(trace.trace_id for trace in (*own, *found))
    assert list(said(job, "formal")) == [
        trace.trace_id for trace in own
    ]  # no other method is asked
    kept = [found.trace_id for found in found if labels[found.trace_id].kept]
    assert len(kept) > 3
    assert all(labels[name].first_error == truth[name].first_error for name in kept)
    assert {label.sources for name, label in labels.items() if name in kept} == {("tree_search",)}
    bills = [annotation.cost.rollouts for annotation in said(job, "tree_search").values()]
    assert sum(bills) == job.dataset.count(rollouts("tree_search")) > 0


async def test_the_lineage_leads_back_to_a_trace_of_the_run(tree: Path, workers: Isolated) -> None:
    dataset = job_in(tree, workers, wandering(), **TREE).dataset
    told = """
    SELECT t.found_by, p.problem_id = t.problem_id, p.steps[:t.parent_steps] = t.steps[:t.parent_steps],
           ends_with(array_to_string(t.steps, ''), r.text), count(*)
    FROM traces t JOIN traces p ON t.parent_trace_id = p.trace_id JOIN rollouts r ON r.rollout_id = t.rollout_id GROUP BY ALL
    """
    assert list(values(query(dataset, told))) == [
        ("tree_search", True, True, True, dataset.count(discovered("tree_search")))
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
async def test_discovered_traces_are_made_anew_with_what_rests_on_them(
    changes: dict[str, Any], remade: set[str], tree: Path, workers: Isolated
) -> None:
    before, model = parts(tree), wandering()
    job = await run(job_in(tree, workers, model, **{**TREE, **changes}))
    assert (
        tables({name for name, stamp in parts(tree).items() if before.get(name) != stamp}) == remade
    )
    assert bool(model.asked) == ("rollouts/tree_search" in remade)
    check_never_mixed(job.dataset)


async def test_discovered_traces_that_a_killed_run_left_alone_do_not_mix_with_others(
    tree: Path, workers: Isolated
) -> None:
    shutil.rmtree(tree / "annotations" / "tree_search")
    job = job_in(tree, workers, wandering(), **TREE, seed=2)
    job.drop_stale(await wanted(job))
    assert job.dataset.methods("discovered") == ()
    check_never_mixed((await run(job)).dataset)


async def test_what_is_labelled_again_has_its_discovered_traces_again(
    tree: Path, workers: Isolated
) -> None:
    before = labels_of(job_in(tree, workers, wandering(), **TREE))
    job = await label(
        job_in(tree, workers, wandering(), **{**TREE, "label": TREE["label"] | {"formal": []}})
    )
    assert list(labels_of(job)) == list(before)


async def test_an_explorer_that_fails_on_a_problem_fails_on_its_traces_alone(
    folder: Path, workers: Isolated
) -> None:
    model = wandering()
    chosen, wanders = model.problems[1], model.before
    assert wanders is not None

    def refuses(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if prompt.prefix and chosen.question in prompt.user:
            raise EngineError("the prompt is too long", retryable=False)
        return wanders(prompt, sampling, index)

    model.before = refuses
    job = await run(job_in(folder, workers, model, **TREE))
    traces = traces_of(job.dataset)
    failed = {
        traces[trace_id].problem_id
        for trace_id, annotation in said(job, "tree_search").items()
        if annotation.error
    }
    assert failed == {chosen.problem_id}
    assert job.meter.failed["tree_search"] == 4
    assert not any(
        found.kept
        for found in labels_of(job).values()
        if traces[found.trace_id].problem_id == chosen.problem_id and "tree_search" in found.sources
    )
