"""Estimates of a run: the pilot's completions are reused, and what is stored is subtracted."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from annotators.base import CostBound, HasCostBound
from annotators.context import AnnotationContext
from annotators.methods.judge import Judge
from annotators.methods.tree_search import TreeSearch
from engines.base import Prompt
from pipelines.estimating.estimate import Estimate, estimate_run
from pipelines.estimating.tables import rows
from stepmark import plugins
from stepmark.errors import BudgetError, EngineError
from stepmark.records import Annotation, Problem, Sampling, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations
from storage.dataset.verify import verify
from tests.columns import column
from tests.pipelines.rows import counts_by_name
from tests.pipelines.simulated import Model, is_judging, job_in, kept_open, run
from verifiers.isolation.pool import VerifierPool

METHODS = ("monte_carlo", "binary_search", "judge")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Runs:
    """Runs and estimates that share their verifiers."""

    workers: VerifierPool

    async def estimated(
        self, folder: Path, model: Model, pilot: int = 0, **changes: Any
    ) -> Estimate:
        job = job_in(folder, self.workers, model, **changes)
        return await estimate_run(kept_open(job), pilot)

    async def finished(self, folder: Path, model: Model, **changes: Any) -> int:
        """Run all stages and return the number of tokens that were generated."""
        job = job_in(folder, self.workers, model, **changes)
        with contextlib.suppress(BudgetError):
            await run(job)
        return job.meter.generated_tokens


@pytest.fixture
def runs(workers: VerifierPool) -> Runs:
    return Runs(workers)


def samples(model: Model) -> Counter[tuple[str, str, int]]:
    counts = Counter[tuple[str, str, int]]()
    for prompt, sampling in model.requests:
        for seed in range(sampling.seed, sampling.seed + sampling.n):
            counts[prompt.user, prompt.prefix, seed] += 1
    return counts


def tokens_of_stage(dataset: Dataset, stage: str) -> int:
    """Return the generated tokens of a finished stage."""
    if stage == "traces":
        return sum(column(dataset.read(TRACES), "generated_tokens"))
    return sum(column(dataset.read(annotations(stage)), "cost.generated_tokens"))


def label_rows(folder: Path) -> list[Any]:
    return list(Dataset(str(folder)).read(LABELS))


async def test_pilot_completions_are_reused(tmp_path: Path, runs: Runs) -> None:
    model = Model()
    estimate = await runs.estimated(tmp_path / "piloted", model, pilot=3)
    requested = len(model.requests)
    assert requested
    # No part of a table: a run could take it for a finished shard.
    stored = dict[Path, bytes]()
    for path in (tmp_path / "piloted").rglob("*"):
        assert path.suffix != ".parquet" or path.parent.name == "completions"
        if path.parent.name == "completions":
            stored[path] = path.read_bytes()
    assert stored

    await runs.finished(tmp_path / "piloted", model)
    assert max(samples(model).values()) == 1
    assert len(model.requests) > requested
    assert estimate.stored_completions < samples(model).total()
    for path, content in stored.items():
        assert path.read_bytes() == content
    assert not list(verify(Dataset(str(tmp_path / "piloted"))))

    undisturbed = Model()
    await runs.finished(tmp_path / "undisturbed", undisturbed)
    assert samples(model) == samples(undisturbed)
    assert label_rows(tmp_path / "piloted") == label_rows(tmp_path / "undisturbed")


async def test_repeated_pilot_requests_nothing(tmp_path: Path, runs: Runs) -> None:
    model = Model()
    first = await runs.estimated(tmp_path, model, pilot=2)
    requested = len(model.requests)
    second = await runs.estimated(tmp_path, model, pilot=2)
    assert len(model.requests) == requested
    assert second.generated_tokens == first.generated_tokens
    # A larger pilot has the problems of a smaller one.
    await runs.estimated(tmp_path, model, pilot=3)
    assert max(samples(model).values()) == 1


async def test_pilot_of_all_problems_is_exact(tmp_path: Path, runs: Runs) -> None:
    generated = await runs.finished(tmp_path / "whole", Model())
    estimate = await runs.estimated(tmp_path / "piloted", Model(), pilot=4)
    assert estimate.stored_tokens == generated
    total = estimate.generated_tokens
    assert total is not None
    assert (total.expected, total.low, total.high) == (0, 0, 0)


async def test_finished_work_is_subtracted(tmp_path: Path, runs: Runs) -> None:
    model = Model()
    half = {"problems": {"use": "word_problems", "count": 2, "max_steps": 4}}
    generated = await runs.finished(tmp_path, model, **half)
    requested = len(model.requests)
    estimate = await runs.estimated(tmp_path, model)
    assert len(model.requests) == requested
    for stage in estimate.stages.values():
        assert (stage.problems_left, stage.basis) == (2, "2 problems of finished shards")
    total = estimate.generated_tokens
    assert total is not None
    # Two problems of four are finished, and the other two are expected to cost as much.
    assert total.expected == pytest.approx(generated)
    await runs.finished(tmp_path, model)
    estimate = await runs.estimated(tmp_path, model)
    assert estimate.generated_tokens is not None
    assert estimate.generated_tokens.expected == 0
    assert {row["count"] for row in rows(estimate) if row["what"] in METHODS} == {"finished"}


async def test_stored_samples_are_subtracted(tmp_path: Path, runs: Runs) -> None:
    shards = {"problems_per_shard": 4}
    whole = await runs.finished(tmp_path / "whole", Model(), shards=shards)
    model = Model()
    used = await runs.finished(tmp_path / "half", model, shards=shards, budget={"tokens": 2500})
    assert 0 < used < whole
    estimate = await runs.estimated(tmp_path / "half", model, shards=shards)
    # Which stages are finished when the budget is reached depends on the machine. Parts that were
    # being written are complete by now.
    assert any(column(estimate.stages.values(), "problems_left"))
    dataset = Dataset(str(tmp_path / "half"))
    finished = 0
    for name, stage in estimate.stages.items():
        if not stage.problems_left:
            finished += tokens_of_stage(dataset, name)
    assert estimate.stored_tokens == used - finished
    # All samples are keyed by the run file: those of another one are none of its own.
    other = await runs.estimated(tmp_path / "half", model, shards=shards, seed=2)
    assert other.stored_tokens == 0


async def test_labelling_is_estimated(tmp_path: Path, runs: Runs) -> None:
    model = Model()
    await runs.finished(tmp_path, model, annotators=[{"use": "formal"}], label=None)
    changes: Any = {
        "problems": None,
        "label": None,
        "annotators": [{"use": "monte_carlo", "rollouts": 2}],
    }
    bound = await runs.estimated(tmp_path, model, **changes)
    traces = list(Dataset(str(tmp_path)).read(TRACES))
    prefixes = sum(len(trace.steps) - 1 for trace in traces)
    assert list(bound.stages) == ["monte_carlo"]
    most = bound.stages["monte_carlo"].rollouts
    assert most is not None
    assert most.high == pytest.approx(2 * prefixes)
    exact = await runs.estimated(tmp_path, model, pilot=4, **changes)
    assert exact.stored_completions == 2 * prefixes
    assert Dataset(str(tmp_path)).count(annotations("monte_carlo")) == 0


@dataclass(frozen=True, kw_only=True)
class WithoutBound:
    """A method that does not declare what it costs."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"engine"})

    async def annotate(
        self, problem: Problem, trace: Trace, context: AnnotationContext
    ) -> Annotation:
        raise NotImplementedError


async def test_estimates_without_a_pilot_are_bounds(tmp_path: Path, runs: Runs) -> None:
    model = Model()
    estimate = await runs.estimated(tmp_path / "dataset", model)
    assert not model.requests
    assert not (tmp_path / "dataset").exists()
    generated = estimate.stages["traces"].generated_tokens
    assert generated is not None
    assert generated.high == 16 * 512
    judge = estimate.stages["judge"].replies
    assert judge is not None
    assert judge.high == 16 * 2
    assert estimate.generated_tokens is None
    by_steps = estimate.stages["monte_carlo"].bound_by_steps
    assert by_steps is not None
    assert by_steps[10] == CostBound(rollouts=4 * 9)

    job = kept_open(job_in(tmp_path, runs.workers, model))
    spec = replace(job.plan.annotators["monte_carlo"], plugin=WithoutBound())
    plan = replace(job.plan, annotators={**job.plan.annotators, "monte_carlo": spec})
    undeclared = await estimate_run(replace(job, plan=plan), 0)
    lines = counts_by_name(rows(undeclared))
    assert lines["monte_carlo"] == "tokens unknown without a pilot"
    assert lines["formal"] == "no tokens"


@pytest.mark.parametrize(
    ("problems", "shards", "hint"),
    [
        (32_000, 500, None),
        (250_000, 3907, "[shards] problems_per_shard = 1250 makes 200."),
        (501, 501, "[shards] problems_per_shard = 3 makes 167."),
        # Larger shards would need too much memory.
        (2_500_000, 39_063, "[shards] problems_per_shard = 1250 makes 2000."),
        (2_500_000, 2000, None),
    ],
)
async def test_many_shards_have_a_hint(
    tmp_path: Path, runs: Runs, problems: int, shards: int, hint: str | None
) -> None:
    estimate = await runs.estimated(tmp_path, Model())
    changed = replace(estimate, problems=problems, traces=4 * problems, shards=shards)
    lines = counts_by_name(rows(changed))
    assert ("many shards" in lines) == (hint is not None)
    assert hint is None or hint in lines["many shards"]


async def test_failures_of_a_pilot_are_shown(tmp_path: Path, runs: Runs) -> None:
    def refuse(prompt: Prompt, sampling: Sampling, index: int) -> str:
        if is_judging(prompt):
            raise EngineError("context too long", retryable=False)
        return ""

    methods = [{"use": "judge", "votes": 2}]
    model = Model(before=refuse)
    estimate = await runs.estimated(tmp_path, model, pilot=1, annotators=methods, label=None)
    failures = estimate.failures["judge"]
    assert list(estimate.failures) == ["judge"]
    assert (failures.failed, failures.traces) == (4, 4)
    lines = counts_by_name(rows(estimate))
    assert lines["failures of judge"].startswith("on 4 of 4 traces of the pilot")
    assert lines["failures of judge"].endswith("EngineError: context too long")


async def test_scores_have_no_time(tmp_path: Path, runs: Runs) -> None:
    methods = [{"use": "formal"}]
    await runs.finished(tmp_path, Model(), annotators=methods, label=None)
    methods = [{"use": "answer_likelihood"}]
    changes: Any = {"problems": None, "label": None, "annotators": methods}
    for pilot in (0, 1):
        estimate = await runs.estimated(tmp_path, Model(), pilot=pilot, **changes)
        lines = counts_by_name(rows(estimate))
        assert "scoring calls" in lines["answer_likelihood"]
        assert lines["time left"] == "unknown: scoring calls generate no tokens"


async def test_batches_have_their_price(tmp_path: Path, runs: Runs) -> None:
    estimate = await runs.estimated(
        tmp_path,
        Model(),
        judge_engine={"use": "openai", "model": "judge", "batch": True, "batch_price": 0.25},
        annotators=[{"use": "judge", "votes": 2, "max_tokens": 100}],
        label=None,
        # The prompt tokens of the judge are unknown, but cost nothing.
        prices={"generated": 1e6},
    )
    assert estimate.prompt_tokens is None
    assert estimate.generated_tokens is not None
    assert estimate.generated_tokens.high == 16 * 512 + 16 * 2 * 100
    assert estimate.cost is not None
    assert estimate.cost.high == 16 * 512 + 0.25 * 16 * 2 * 100


async def test_costs_are_within_declared_bounds(tmp_path: Path, runs: Runs) -> None:
    methods: list[dict[str, Any]] = [
        {"use": "monte_carlo", "rollouts": 3},
        {"use": "binary_search", "rollouts": 3, "right_answers": "search"},
        {"use": "adaptive_search", "budget": 5},
        {"use": "tree_search", "rollouts": 2, "searches": 3},
        {"use": "judge", "votes": 2},
    ]
    await runs.finished(tmp_path, Model(), annotators=methods, label=None)
    dataset = Dataset(str(tmp_path))
    steps = {trace.trace_id: len(trace.steps) for trace in dataset.read(TRACES)}
    for table in methods:
        method = plugins.build("annotators", table)
        assert isinstance(method, HasCostBound)
        costs = column(dataset.read(annotations(table["use"])), "cost")
        # All traces as one problem: a tree search then has one budget.
        bound = method.cost_bound(list(steps.values()), 1)
        if isinstance(method, TreeSearch):
            bound = CostBound(rollouts=4 * bound.rollouts)
        assert sum(column(costs, "rollouts")) <= bound.rollouts
        if isinstance(method, Judge):
            assert sum(column(costs, "generated_tokens")) <= bound.reply_tokens
