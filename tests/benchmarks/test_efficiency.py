"""Methods are compared on equal completions, and the bounds are correct."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from benchmarks.efficiency.benchmark import all_traces
from benchmarks.efficiency.ground_truth import GroundTruth, MethodResults
from benchmarks.efficiency.information_bounds import (
    InformedSearch,
    blahut_arimoto,
    policy_model,
    rollout_bound,
    z_channel_capacity,
)
from benchmarks.efficiency.measures import compare_methods, measure_method, reliability_bins
from benchmarks.efficiency.parts import Part, parts_to_json, read_parts
from benchmarks.efficiency.rollout_cache import BATCH_SIZE, CachedTraceEngine, RolloutCache
from benchmarks.efficiency.simulated_policy import Policy
from benchmarks.efficiency.simulated_traces import simulate_traces
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.records import NO_ERROR, Sampling

POLICY = Policy(steps=5, reliability=0.9)


@pytest.fixture
async def ground_truth() -> GroundTruth:
    return await simulate_traces(POLICY, 12)


def numbered(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
    return Completion(
        text=f"{sampling.seed + index}",
        finish_reason="stop",
        prompt_tokens=1,
        cached_tokens=0,
        generated_tokens=3,
    )


async def test_completions_are_independent_of_request_size() -> None:
    cache = RolloutCache(engine=Scripted(respond=numbered))
    prompt = Prompt(user="q", prefix="p")
    one_request = CachedTraceEngine(engine=cache, trace_id="t")
    several_requests = CachedTraceEngine(engine=cache, trace_id="t")
    expected = await one_request.complete(prompt, Sampling(n=BATCH_SIZE + 3, seed=1))
    completions = list[Completion]()
    for n in (1, 2, BATCH_SIZE):
        completions += await several_requests.complete(prompt, Sampling(n=n, seed=n))
    assert completions == expected
    assert len({completion.text for completion in expected}) == BATCH_SIZE + 3
    other_trace = CachedTraceEngine(engine=cache, trace_id="other")
    assert expected[0] not in await other_trace.complete(prompt, Sampling(n=1, seed=1))


async def test_cache_survives_truncated_lines(tmp_path: Path) -> None:
    file = tmp_path / "bank.jsonl"
    requests = list[Prompt]()

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        requests.append(prompt)
        return numbered(prompt, sampling, index)

    engine = Scripted(respond=respond)
    sampling = Sampling(n=2, seed=7)
    first = await RolloutCache(engine=engine, file=file).complete(Prompt(user="q"), sampling)
    with file.open("a") as lines:
        lines.write('{"key": "')
    second_run = RolloutCache(engine=engine, file=file)
    second_run.load()
    assert await second_run.complete(Prompt(user="q"), sampling) == first
    assert len(requests) == 2


@pytest.mark.parametrize("correct", [0.2, 0.6, 0.95])
def test_capacity_of_known_channels(correct: float) -> None:
    z_channel = np.array([[correct, 1 - correct], [1e-12, 1.0]])
    assert blahut_arimoto(z_channel) == pytest.approx(z_channel_capacity(correct), abs=1e-3)
    symmetric = np.array([[correct, 1 - correct], [1 - correct, correct]])
    assert blahut_arimoto(symmetric) == pytest.approx(1 - binary_entropy(correct), abs=1e-3)


def binary_entropy(probability: float) -> float:
    complement = 1 - probability
    return -probability * math.log2(probability) - complement * math.log2(complement)


def test_policy_model_matches_samples() -> None:
    model = policy_model(POLICY, "3")
    assert model.prior.sum() == pytest.approx(1)
    assert model.end_probabilities.sum(axis=2) == pytest.approx(1, abs=1e-6)
    problem = next(problem for problem in POLICY.problems(4) if problem.problem_id == "3")
    prompt = Prompt(user=problem.question)
    correct = list[bool]()
    first_errors = list[int]()
    # The standard error of a share of 3,000 samples is below 0.01.
    for index in range(3000):
        text = POLICY.respond(prompt, Sampling(seed=0), index).text
        correct.append(text.rstrip().endswith("answer is 0."))
        for step_index, step in enumerate(text.splitlines()):
            if "?" in step:
                first_errors.append(step_index)
                break
    all_correct = model.suffix_correct[0]
    expected = all_correct + (1 - all_correct) * POLICY.harmless
    assert np.mean(correct) == pytest.approx(expected, abs=0.03)
    shares = np.bincount(first_errors, minlength=POLICY.steps) / len(first_errors)
    assert shares == pytest.approx(model.first_error_probabilities(model.prior), abs=0.05)


async def test_informed_search_respects_the_bound(ground_truth: GroundTruth) -> None:
    results = await ground_truth.evaluate(InformedSearch(policy=POLICY, confidence=0.9))
    measures = measure_method(results, all_traces)
    bound = rollout_bound(ground_truth, POLICY, all_traces, results)
    assert 0 < bound.information <= bound.initial_entropy
    assert bound.rollouts <= bound.rollouts_binary
    assert measures.rollouts >= bound.rollouts
    assert measures.exact.value > 0.75


async def test_bound_from_prior_excludes_samples(ground_truth: GroundTruth) -> None:
    without_rollouts = await ground_truth.evaluate(AdaptiveSearch(budget=0))
    results = await ground_truth.evaluate(AdaptiveSearch())
    no_gain = rollout_bound(ground_truth, POLICY, all_traces, without_rollouts, without_rollouts)
    assert no_gain.binary_from_prior == 0
    bound = rollout_bound(ground_truth, POLICY, all_traces, results, without_rollouts)
    assert bound.binary_from_prior is not None
    assert bound.z_channel_from_prior is not None
    assert bound.binary_from_prior > bound.z_channel_from_prior > 1
    no_prior = rollout_bound(ground_truth, POLICY, all_traces, results)
    assert no_prior.binary_from_prior is None


async def test_measures_use_only_wrong_traces(ground_truth: GroundTruth) -> None:
    monte_carlo = await ground_truth.evaluate(MonteCarlo())
    binary_search = await ground_truth.evaluate(BinarySearch(right_answers="search"))
    measures = measure_method(monte_carlo, all_traces)
    wrong = [result for result in monte_carlo.traces if result.first_error != NO_ERROR]
    assert measures.traces == len(wrong) < len(monte_carlo.traces)
    exact_shares = [result.annotation.first_error == result.first_error for result in wrong]
    assert measures.exact.value == np.mean(exact_shares)
    assert measures.exact.low <= measures.exact.value <= measures.exact.high
    # The complete trace needs no rollouts; each shorter prefix has eight.
    assert measures.rollouts == 8 * (POLICY.steps - 1)
    exact, tokens = compare_methods(binary_search, monte_carlo, all_traces)
    assert tokens.value < 1
    difference = measure_method(binary_search, all_traces).exact.value - measures.exact.value
    assert exact.value == pytest.approx(difference)
    exact, tokens = compare_methods(monte_carlo, monte_carlo, all_traces)
    # A method equals itself: the difference is 0, and the ratio is 1.
    assert (exact.low, exact.high, tokens.low, tokens.high) == (0, 0, 1, 1)


async def test_merged_results_are_weighted_means(ground_truth: GroundTruth) -> None:
    other = await simulate_traces(Policy(steps=4, reliability=0.8), 8)
    parts = [await part.evaluate(MonteCarlo(rollouts=2)) for part in (ground_truth, other)]
    merged = measure_method(MethodResults.merge(parts), all_traces)
    traces = 0
    exact = 0.0
    all_annotated = 0
    cpu_ms = 0.0
    for part in parts:
        measures = measure_method(part, all_traces)
        traces += measures.traces
        exact += measures.traces * measures.exact.value
        all_annotated += len(part.traces)
        cpu_ms += len(part.traces) * measures.cpu_ms
    assert merged.traces == traces
    assert merged.exact.value == pytest.approx(exact / traces)
    assert merged.cpu_ms == pytest.approx(cpu_ms / all_annotated)


async def test_parts_survive_json(ground_truth: GroundTruth, tmp_path: Path) -> None:
    results = await ground_truth.evaluate(AdaptiveSearch())
    part = Part(
        measures={"m": measure_method(results, all_traces)},
        bounds={"m": rollout_bound(ground_truth, POLICY, all_traces, results, results)},
        comparisons={"m": {"m": compare_methods(results, results, all_traces)}},
        reliability=reliability_bins(results, all_traces),
    )
    dumped = parts_to_json({"simulated": part})
    # The keys of published results.
    assert list(dumped["simulated"]) == ["rows", "limits", "against", "reliability"]
    assert list(dumped["simulated"]["limits"]["m"]) == [
        "doubt",
        "told",
        "rollouts",
        "rollouts_binary",
        "own",
        "own_z",
    ]
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"parts": dumped}), encoding="utf-8")
    assert read_parts(file) == {"simulated": part}
