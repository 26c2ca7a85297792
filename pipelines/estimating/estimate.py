"""The estimate of what a run still costs, from a pilot, from finished shards, or as a bound.

A sample of problems has known costs: the problems of a pilot, or of finished shards. The estimate
of a stage is their mean cost times the number of problems that the stage has left, less the cost of
the completions that are stored already. The range is a bootstrap over the problems of the sample:
it contains 90 % of the means of resamples of the same size. Problems of the sample that the stage
has left are not resampled, since their costs are known.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.base import CostBound, HasCostBound, ProblemAnnotator
from pipelines.estimating.costs import (
    GENERATED_TOKENS,
    PROMPT_TOKENS,
    QUANTITIES,
    REPLIES,
    ROLLOUTS,
    Costs,
    read_costs,
    read_step_counts,
)
from pipelines.estimating.pilot import Failures, Pilot, run_pilot
from pipelines.estimating.remaining import (
    CHARACTERS_PER_TOKEN,
    Remaining,
    find_remaining,
    makes_traces,
)
from pipelines.estimating.stored import StoredCosts, stored_costs
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.batches import price_factors_by_method
from pipelines.run.config import PRICE_UNIT_TOKENS, Prices
from pipelines.run.job import Job
from storage.completions.store import CompletionStore

__all__ = ["TYPICAL_STEPS", "Amount", "Estimate", "StageEstimate", "estimate_run"]

RESAMPLES = 1000
# The percentiles of the resampled means that a range begins and ends with.
RANGE = (5.0, 95.0)
COLUMNS = (*QUANTITIES, "cost")
TYPICAL_STEPS = (5, 10, 20)
"""Numbers of steps for which a bound is printed while the steps of the traces are unknown."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """An expected number with its range; without an expected one, `high` is an upper bound."""

    expected: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """What a stage still costs; None is unknown."""

    problems_left: int
    rollouts: Amount | None = None
    replies: Amount | None = None
    scores: Amount | None = None
    prompt_tokens: Amount | None = None
    generated_tokens: Amount | None = None
    basis: str
    bound_by_steps: Mapping[int, CostBound] | None = None
    """The bound for a trace by its number of steps, while the steps of the traces are unknown."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run still costs; None is unknown."""

    pilot_problems: int
    """The number of problems of the pilot; 0 without one."""
    failures: Mapping[str, Failures]
    """What failed in the pilot, by stage."""
    problems: int
    rejected: int
    traces: int
    shards: int
    stages: Mapping[str, StageEstimate]
    """By stage: "traces" if the run makes them, and every method."""
    stored_completions: int
    """Completions of unfinished shards that are stored, and are subtracted."""
    stored_tokens: int
    """Their generated tokens."""
    prompt_tokens: Amount | None
    generated_tokens: Amount | None
    cost: Amount | None
    seconds: Amount | None
    tokens_per_second: float | None
    """The rate of the pilot."""
    files: int
    """The files of the finished dataset."""
    bytes: float | None
    """Their size."""


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """The costs of some problems, [problem, quantity]."""

    costs: Costs
    scores: Amount | None
    known: int
    """How many of its problems the stage has left itself."""
    basis: str


class _Totals:
    """The sums of the stages: expected numbers, and those of every resample.

    The columns are the quantities and the price.

    Args:
        prices: The prices of tokens.
        price_factors: The price of a token as a part of the usual one, by stage; 1 by default.
    """

    def __init__(self, prices: Prices, price_factors: Mapping[str, float]) -> None:
        self._prices = np.zeros(len(QUANTITIES))
        self._prices[PROMPT_TOKENS] = prices.prompt / PRICE_UNIT_TOKENS
        self._prices[GENERATED_TOKENS] = prices.generated / PRICE_UNIT_TOKENS
        self._price_factors = price_factors
        self._expected = np.zeros(len(COLUMNS))
        self._resampled = np.zeros((RESAMPLES, len(COLUMNS)))
        self._has_ranges = True
        self._bounds = np.zeros(len(COLUMNS))
        self.unknown = set[str]()
        """Quantities of which at least one stage has no upper bound."""

    def add(self, stage: str, expected: Costs, resampled: Costs, *, has_range: bool) -> None:
        """Add the costs of a stage, [quantity] and [resample, quantity]."""
        self._expected += self._priced(stage, expected)
        self._resampled += self._priced(stage, resampled)
        self._has_ranges = self._has_ranges and has_range

    def add_bound(self, stage: str, bounds: Costs) -> None:
        """Add the upper bounds [quantity] of a stage without a sample."""
        self._bounds += self._priced(stage, bounds)

    def amount(self, name: str) -> Amount | None:
        """Return the total of all stages, of a quantity or of the "cost"; None if it is unknown."""
        needed = {name}
        if name == "cost":
            # An unknown number of tokens without a price costs nothing.
            needed = {QUANTITIES[index] for index in np.flatnonzero(self._prices)}
        if needed & self.unknown:
            return None
        index = COLUMNS.index(name)
        amount = _amount(self._expected[index], self._resampled[:, index], self._has_ranges)
        bound = float(self._bounds[index])
        if not bound:
            return amount
        high = amount.expected if amount.high is None else amount.high
        return Amount(high=(high or 0.0) + bound)

    def _priced(self, stage: str, costs: Costs) -> Costs:
        """Return costs [..., quantity] with their price as one more column."""
        price = self._price_factors.get(stage, 1.0) * (costs @ self._prices)
        return np.concatenate([costs, np.expand_dims(price, -1)], axis=-1)


async def estimate_run(job: Job, pilot_problems: int) -> Estimate:
    """Estimate what a run still costs.

    Without a pilot nothing is written or requested. With one, the caller has prepared the run, and
    the completions of the pilot are stored in its dataset.

    Args:
        job: The run. Its engines and workers are closed.
        pilot_problems: The number of problems of the pilot; 0 for none.
    """
    try:
        async with AsyncExitStack() as stack:
            if pilot_problems:
                stack.enter_context(job.dataset.writer_lock())
            store = CompletionStore(job.dataset)
            await asyncio.to_thread(store.open)
            remaining = await find_remaining(job, store, pilot_problems)
            pilot: Pilot | None = None
            if remaining.pilot:
                pilot = await stack.enter_async_context(run_pilot(job, remaining))
                # It has stored completions since.
                await asyncio.to_thread(store.open)
                remaining = await find_remaining(job, store, pilot_problems)
            stored = await stored_costs(job, store, remaining)
            return await asyncio.to_thread(_estimate, job, remaining, stored, pilot)
    finally:
        await job.close()


def _estimate(
    job: Job, remaining: Remaining, stored: Mapping[str, StoredCosts], pilot: Pilot | None
) -> Estimate:
    """Return the estimate of a run from what remains, what is stored, and a pilot if there is one.

    Args:
        job: The run.
        remaining: The problems that each stage has left.
        stored: The stored completions of unfinished shards, by stage.
        pilot: The pilot; None to use finished shards, or bounds for stages without any.
    """
    share = remaining.looked_up_share or 1.0
    price_factors = dict(price_factors_by_method(job.plan))
    price_factors["traces"] = price_factors.pop("")
    totals = _Totals(job.plan.run_file.prices, price_factors)
    stages = dict[str, StageEstimate]()
    completions = 0.0
    stored_tokens = 0.0
    for stage in _stages(job):
        reused = stored[stage].of_all_problems(share)
        completions += float(reused.costs[ROLLOUTS] + reused.costs[REPLIES])
        stored_tokens += float(reused.costs[GENERATED_TOKENS])
        sample = _sample(job, remaining, stage, pilot)
        if sample is not None:
            stages[stage] = _estimate_from_sample(remaining, stage, sample, reused, totals)
        elif stage == "traces":
            stages[stage] = _bound_of_traces(job, remaining, reused, totals)
        else:
            stages[stage] = _bound_of_method(job, remaining, stage, reused, totals)
    tokens_per_second: float | None = None
    if pilot is not None and pilot.generated_tokens:
        tokens_per_second = pilot.generated_tokens / pilot.seconds
    generated = totals.amount("generated_tokens")
    cost: Amount | None = None
    if job.plan.run_file.prices.of(1, 1) is not None:
        cost = totals.amount("cost")
    pilot_problems = 0
    failures: Mapping[str, Failures] = {}
    if pilot is not None:
        pilot_problems = pilot.problems
        failures = pilot.failures
    files, size = _files(job, remaining, pilot)
    return Estimate(
        pilot_problems=pilot_problems,
        failures=failures,
        problems=remaining.problems,
        rejected=remaining.rejected,
        traces=remaining.traces,
        shards=remaining.shards,
        stages=stages,
        stored_completions=round(completions),
        stored_tokens=round(stored_tokens),
        prompt_tokens=totals.amount("prompt_tokens"),
        generated_tokens=generated,
        cost=cost,
        seconds=_generation_seconds(generated, tokens_per_second),
        tokens_per_second=tokens_per_second,
        files=files,
        bytes=size,
    )


def _stages(job: Job) -> Sequence[str]:
    stages = list(job.plan.annotators)
    return ["traces", *stages] if makes_traces(job) else stages


def _sample(job: Job, remaining: Remaining, stage: str, pilot: Pilot | None) -> _Sample | None:
    """Return the costs of the problems of the pilot, or of finished shards; None without any."""
    if pilot is not None:
        scores = pilot.scores.get(stage, 0) / pilot.problems
        return _Sample(
            costs=read_costs(pilot.dataset, [0], stage),
            scores=Amount(expected=scores),
            known=remaining.pilot_left[stage],
            basis=f"a pilot of {_problem_count(pilot.problems)}",
        )
    shards = remaining.finished[stage]
    if not shards:
        return None
    costs = read_costs(job.dataset, shards, stage)
    return _Sample(
        costs=costs,
        scores=_scores_of_finished(job, shards, stage),
        known=0,
        basis=f"{_problem_count(len(costs))} of finished shards",
    )


def _scores_of_finished(job: Job, shards: Sequence[int], stage: str) -> Amount | None:
    """Return the scoring calls of a problem, which no table contains, as the method declares."""
    if stage == "traces":
        return Amount(expected=0.0)
    spec = job.plan.annotators[stage]
    bound = _mean_bound(
        spec, read_step_counts(job.dataset, shards), job.plan.run_file.generate.traces_per_problem
    )
    return None if bound is None else Amount(expected=bound["scores"])


def _estimate_from_sample(
    remaining: Remaining,
    stage: str,
    sample: _Sample,
    reused: StoredCosts,
    totals: _Totals,
) -> StageEstimate:
    """Return the estimate of a stage from a sample of problems, and add it to the totals."""
    problems_left = remaining.left[stage]
    mean = sample.costs.mean(axis=0)
    known = min(sample.known, problems_left)
    unknown = problems_left - known
    # The seed is the size of the sample: stages with samples of one size draw the same problems, so
    # that their costs vary together.
    generator = np.random.default_rng(len(sample.costs))
    indices = generator.integers(len(sample.costs), size=(RESAMPLES, len(sample.costs)))
    resampled_means = sample.costs[indices].mean(axis=1)
    expected = np.maximum(0.0, mean * problems_left - reused.costs)
    resampled = np.maximum(0.0, mean * known + resampled_means * unknown - reused.costs)
    # All resamples of a single problem are equal, so they have no range.
    has_range = len(sample.costs) > 1 or unknown == 0
    totals.add(stage, expected, resampled, has_range=has_range)
    amounts = dict[str, Amount]()
    for index, name in enumerate(QUANTITIES):
        amounts[name] = _amount(expected[index], resampled[:, index], has_range)
    scores: Amount | None = None
    if sample.scores is not None and sample.scores.expected is not None:
        calls = sample.scores.expected * problems_left - reused.scores
        scores = Amount(expected=max(0.0, calls))
    return StageEstimate(
        problems_left=problems_left,
        rollouts=amounts["rollouts"],
        replies=amounts["replies"],
        scores=scores,
        prompt_tokens=amounts["prompt_tokens"],
        generated_tokens=amounts["generated_tokens"],
        basis=sample.basis,
    )


def _bound_of_traces(
    job: Job, remaining: Remaining, reused: StoredCosts, totals: _Totals
) -> StageEstimate:
    """Return the bound of the stage that samples the traces, and add it to the totals.

    The bound of generated tokens is `max_tokens` for each trace. The prompt tokens are an expected
    number, computed from the characters of the prompts.
    """
    generate = job.plan.run_file.generate
    problems_left = remaining.left["traces"]
    max_tokens = problems_left * generate.traces_per_problem * generate.max_tokens
    generated = max(0.0, max_tokens - float(reused.costs[GENERATED_TOKENS]))
    prompt = remaining.prompt_characters / CHARACTERS_PER_TOKEN
    costs = _quantity("prompt_tokens", prompt)
    totals.add("traces", costs, costs, has_range=False)
    totals.add_bound("traces", _quantity("generated_tokens", generated))
    return StageEstimate(
        problems_left=problems_left,
        prompt_tokens=Amount(expected=prompt),
        generated_tokens=Amount(high=generated),
        basis=f"max_tokens of each trace, and {CHARACTERS_PER_TOKEN} characters per prompt token",
    )


def _bound_of_method(
    job: Job,
    remaining: Remaining,
    stage: str,
    reused: StoredCosts,
    totals: _Totals,
) -> StageEstimate:
    """Return the bound that a method declares for its problems, and add it to the totals.

    If the method declares none, or the bound depends on unknown numbers of steps, the totals of
    tokens are unknown.
    """
    spec = job.plan.annotators[stage]
    problems_left = remaining.left[stage]
    generate = job.plan.run_file.generate
    step_counts = read_step_counts(job.dataset, remaining.finished["traces"])
    bound = _mean_bound(spec, step_counts, generate.traces_per_problem)
    if bound is None:
        totals.unknown |= {"prompt_tokens", "generated_tokens"}
        by_steps = _bound_by_steps(spec)
        basis = "the method declares no bound"
        if by_steps is not None:
            basis = "a bound that depends on the number of steps"
        return StageEstimate(problems_left=problems_left, basis=basis, bound_by_steps=by_steps)
    tokens = bound["rollouts"] * generate.max_tokens + bound["reply_tokens"]
    generated = max(0.0, tokens * problems_left - float(reused.costs[GENERATED_TOKENS]))
    totals.add_bound(stage, _quantity("generated_tokens", generated))
    prompt: Amount | None = Amount(high=0.0)
    if problems_left and spec.plugin.needs:
        prompt = None
        totals.unknown.add("prompt_tokens")
    rollouts = bound["rollouts"] * problems_left - float(reused.costs[ROLLOUTS])
    replies = bound["replies"] * problems_left - float(reused.costs[REPLIES])
    scores = bound["scores"] * problems_left - reused.scores
    return StageEstimate(
        problems_left=problems_left,
        rollouts=Amount(high=max(0.0, rollouts)),
        replies=Amount(high=max(0.0, replies)),
        scores=Amount(high=max(0.0, scores)),
        prompt_tokens=prompt,
        generated_tokens=Amount(high=generated),
        basis="the bound that the method declares",
    )


def _mean_bound(
    spec: AnnotatorSpec, step_counts: Sequence[Sequence[int]], traces: int
) -> Mapping[str, float] | None:
    """Return the mean bound of a method per problem; None if it declares none, or it is unknown.

    Args:
        spec: The method.
        step_counts: [problem][trace], the number of steps of each trace; empty without traces.
        traces: The number of traces that a problem will have, if there are none.
    """
    if not spec.plugin.needs:
        return _mean([CostBound()])
    if not isinstance(spec.plugin, HasCostBound):
        return None
    judges = len(spec.judge_names)
    if step_counts:
        return _mean([spec.plugin.cost_bound(steps, judges) for steps in step_counts])
    bounds = {spec.plugin.cost_bound([steps] * traces, judges) for steps in TYPICAL_STEPS}
    # Equal bounds for all typical numbers of steps: the bound does not depend on the number.
    return _mean(list(bounds)) if len(bounds) == 1 else None


def _mean(bounds: Sequence[CostBound]) -> Mapping[str, float]:
    """Return the mean of each quantity of some bounds, of which there must be at least one."""
    names = ("rollouts", "replies", "reply_tokens", "scores")
    return {name: sum(getattr(bound, name) for bound in bounds) / len(bounds) for name in names}


def _bound_by_steps(spec: AnnotatorSpec) -> Mapping[int, CostBound] | None:
    """Return the bound of one trace, by its number of steps; None if the method declares none."""
    if not isinstance(spec.plugin, HasCostBound):
        return None
    judges = len(spec.judge_names)
    return {count: spec.plugin.cost_bound([count], judges) for count in TYPICAL_STEPS}


def _quantity(name: str, value: float) -> Costs:
    """Return costs [quantity] of one quantity."""
    costs = np.zeros(len(QUANTITIES))
    costs[QUANTITIES.index(name)] = value
    return costs


def _amount(expected: float, resampled: NDArray[np.float64], has_range: bool) -> Amount:
    """Return an amount whose range is that of the totals [resample]."""
    if not has_range:
        return Amount(expected=float(expected))
    low, high = np.percentile(resampled, RANGE)
    return Amount(expected=float(expected), low=float(low), high=float(high))


def _generation_seconds(tokens: Amount | None, per_second: float | None) -> Amount | None:
    """Return the seconds in which tokens are generated; None if either argument is unknown."""
    if tokens is None or per_second is None:
        return None

    def seconds(count: float | None) -> float | None:
        return None if count is None else count / per_second

    return Amount(
        expected=seconds(tokens.expected), low=seconds(tokens.low), high=seconds(tokens.high)
    )


def _files(job: Job, remaining: Remaining, pilot: Pilot | None) -> tuple[int, float | None]:
    """Return the number of files of the finished dataset, and their size from a pilot."""
    # Rows that were set aside, labels, and the stored completions.
    other_tables = 1 + makes_traces(job) + (job.plan.labeler is not None)
    if pilot is not None:
        files = (pilot.sizes.files + other_tables) * remaining.shards
        size = files * pilot.sizes.file_bytes + remaining.problems * pilot.sizes.row_bytes
        return files, size
    # An upper bound: not every method writes rollouts, replies or new traces.
    tables = 2 + other_tables + (job.plan.oracle is not None)
    for spec in job.plan.annotators.values():
        tables += 1 + (spec.engine_name is not None) + bool(spec.judge_names)
        tables += isinstance(spec.plugin, ProblemAnnotator)
    return tables * remaining.shards, None


def _problem_count(count: int) -> str:
    return f"{count} problem" if count == 1 else f"{count} problems"
