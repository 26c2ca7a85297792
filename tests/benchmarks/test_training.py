"""The measures of step scores, the budget of labels, and a whole run of the training benchmark."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training.kept_results import KeptResults
from benchmarks.training.labels import (
    BY_ORACLE,
    METHODS,
    critiques_for_budget,
    label_by_oracle,
    label_for_budget,
)
from benchmarks.training.measures import (
    ScoredTrace,
    best_of_samples,
    best_threshold,
    first_error_f1,
    majority_of_samples,
    step_auc,
)
from benchmarks.training.pool import Pool, open_pool
from stepmark.errors import InputError
from stepmark.records import NO_ERROR, Verdict

C = Verdict.CORRECT
W = Verdict.INCORRECT


def scored(
    problem: str,
    first_error: int | None,
    *scores: float,
    outcome: Verdict = C,
    answer: str | None = "1",
    copies: int = 1,
) -> ScoredTrace:
    return ScoredTrace(
        problem_id=problem,
        first_error=first_error,
        outcome=outcome,
        answer=answer,
        scores=scores,
        copies=copies,
    )


def test_f1_is_harmonic_mean() -> None:
    traces = [
        scored("a", 1, 0.9, 0.1),
        scored("a", 0, 0.9, 0.1),  # found too late
        scored("b", NO_ERROR, 0.9, 0.8),
        scored("b", NO_ERROR, 0.9, 0.8),
        scored("b", NO_ERROR, 0.2, 0.8),  # a false alarm
        scored("b", None, 0.1),  # unknown to the oracle
    ]
    comparison = first_error_f1(traces, 0.5)
    wrong = 1 / 2
    right = 2 / 3
    assert comparison.value == pytest.approx(2 * wrong * right / (wrong + right))
    assert comparison.interval.low <= comparison.value <= comparison.interval.high


def test_best_threshold_separates_steps() -> None:
    traces = [scored("a", 1, 0.7, 0.6), scored("b", NO_ERROR, 0.7, 0.65)]
    threshold = best_threshold(traces)
    assert 0.6 < threshold <= 0.65
    assert first_error_f1(traces, threshold).value == 1


def test_auc_leaves_out_later_steps() -> None:
    traces = [
        # 0.3 is the first error; the 0.9 after it counts nowhere.
        scored("a", 1, 0.8, 0.3, 0.9),
        scored("b", NO_ERROR, 0.2, 0.3),
        scored("b", None, 0.0, 1.0),
    ]
    # Of the correct steps 0.8, 0.2 and 0.3 the first one is above 0.3, and the last one is equal.
    assert step_auc(traces).value == pytest.approx(1.5 / 3)


def test_best_of_counts_copies() -> None:
    traces = [
        scored("a", NO_ERROR, 0.9, 0.5, outcome=C, copies=3),
        scored("a", 0, 0.5, 0.9, outcome=W),
        scored("a", 0, 0.4, outcome=W, copies=4),
        scored("b", NO_ERROR, 0.3, outcome=C),
        scored("b", 0, 0.6, outcome=W),
        # Without an answer, a trace is not a candidate.
        scored("b", None, 0.9, outcome=Verdict.UNKNOWN, answer=None),
    ]
    # In problem a, four samples have the lowest score 0.5, and three of them are correct.
    assert best_of_samples(traces).value == pytest.approx((3 / 4 + 0) / 2)


def test_majority_shares_ties() -> None:
    traces = [
        scored("a", NO_ERROR, 0.1, answer="1", outcome=C, copies=2),
        scored("a", 0, 0.1, answer="2", outcome=W),
        scored("a", 0, 0.1, answer="2", outcome=W),
        scored("a", 0, 0.1, answer=None, outcome=W, copies=4),
        scored("b", NO_ERROR, 0.1, answer="5", outcome=C, copies=5),
        scored("b", 0, 0.1, answer="6", outcome=W, copies=3),
    ]
    assert majority_of_samples(traces).value == pytest.approx((1 / 2 + 1) / 2)


def test_differences_are_paired() -> None:
    traces = [scored("a", 1, 0.9, 0.1), scored("b", NO_ERROR, 0.9, 0.8), scored("c", 0, 0.2)]
    comparison = first_error_f1(traces, 0.5)
    difference = comparison.minus(comparison)
    assert (difference.low, difference.value, difference.high) == (0, 0, 0)


async def test_kept_results_are_not_repeated(tmp_path: Path) -> None:
    kept = KeptResults(folder=tmp_path / "kept")
    kept.check_options({"budget": 1})
    calls = list[int]()

    async def make() -> list[int]:
        calls.append(len(calls))
        return calls

    assert await kept.get("labels a", make) == [0]
    assert await kept.get("labels a", make) == [0]
    assert calls == [0]
    kept.check_options({"budget": 1})
    with pytest.raises(InputError, match="name another folder in --keep"):
        kept.check_options({"budget": 2})


async def test_labels_cost_the_budget(tmp_path: Path) -> None:
    async with open_pool(tmp_path, 3, 12) as pool:
        candidates = pool.candidates()
        outcomes = [trace.outcome for trace in candidates]
        assert outcomes.count(C) == outcomes.count(W) > 3
        texts = {(trace.problem_id, trace.steps) for trace in candidates}
        assert len(texts) == len(candidates)
        oracle = label_by_oracle(pool)
        assert (oracle.tokens, oracle.traces, oracle.exact) == (0, len(candidates), 1)
        await check_budget(pool, 6000)
        await check_critiques(pool, 6000)


async def check_budget(pool: Pool, budget: int) -> None:
    """Check that each method spends at most the budget, and that more labels cost more."""
    for name, method in METHODS.items():
        # Small batches, so that a batch more than needed costs little.
        small = replace(method, batch=2)
        labels = await label_for_budget(pool, small, budget)
        assert labels.tokens <= budget, name
        assert len(labels.rows) <= labels.traces, name
        for row in labels.rows:
            assert len(row["completions"]) == len(row["labels"]), name
    cheap = await label_for_budget(pool, replace(METHODS["OmegaPRM"], batch=2), budget)
    dear = await label_for_budget(pool, replace(METHODS["Math-Shepherd"], batch=2), budget)
    assert cheap.traces > dear.traces


async def check_critiques(pool: Pool, budget: int) -> None:
    """Check that the rows are replies that agree with the labels, and that they are paid for."""
    by_oracle = await critiques_for_budget(pool, BY_ORACLE, budget)
    assert 0 < by_oracle.tokens <= budget
    assert len(by_oracle.rows) > 0
    first_errors = {
        (pool.problems[trace.problem_id].question, trace.steps): pool.oracle[trace.trace_id]
        for trace in pool.traces
    }
    for row in by_oracle.rows:
        request, reply = row["messages"]
        expected = next(
            annotation.first_error
            for (question, steps), annotation in first_errors.items()
            if question in request["content"] and "".join(steps).strip() in request["content"]
        )
        verdicts = row["verdicts"]
        assert reply["role"] == "assistant"
        first = verdicts.index("incorrect") if "incorrect" in verdicts else NO_ERROR
        assert first == expected
    # The judge's replies are paid for even if the method does not use its verdicts.
    method = replace(METHODS["OmegaPRM"], batch=2)
    with_critiques = await critiques_for_budget(pool, method, budget)
    without = await label_for_budget(pool, method, budget)
    assert with_critiques.tokens <= budget
    assert 0 < with_critiques.traces < without.traces


@pytest.mark.vllm
def test_whole_benchmark_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.training import benchmark

    sizes = "--problems 12 --held-out 6 --threshold-problems 6 --budget 4000 --seed 2 --seeds 2"
    updates = "--updates 20 --model-updates 2 --verifier-updates 2"
    names = ("OmegaPRM", "oracle")
    methods = ("--methods", *names, "--verifiers", *names, "--keep", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["training", *sizes.split(), *updates.split(), *methods])
    benchmark.main()
    results = json.loads(capsys.readouterr().out)
    heads = results["heads"]
    assert 0 < heads["OmegaPRM"]["labels"]["tokens"] <= 4000
    assert heads["oracle"]["labels"]["rows"] > heads["OmegaPRM"]["labels"]["rows"] > 0
    assert heads["oracle"]["f1"]["value"] > 0
    assert len(heads["oracle"]["f1_of_seeds"]) == 1
    assert heads[benchmark.ALL_WEIGHTS]["labels"]["rows"] == heads["oracle"]["labels"]["rows"]
    # The model's own likelihood is better than chance without any training.
    assert heads[benchmark.LOG_PROBABILITY]["auc"]["value"] > 0.6
    verifiers = results["verifiers"]
    assert list(verifiers) == [benchmark.UNTRAINED, "OmegaPRM", "oracle"]
    for name in ("OmegaPRM", "oracle"):
        assert 0 < verifiers[name]["labels"]["tokens"] <= 4000
        assert verifiers[name]["labels"]["rows"] > 0
        # Six problems are too few to measure a verifier, but each step has a verdict.
        checks = json.loads((tmp_path / f"verifier {name}.json").read_text())
        scores = json.loads((tmp_path / f"head {name}, seed 0.json").read_text())["evaluation"]
        assert [len(steps) for steps in checks] == [len(steps) for steps in scores]
        assert {0.0, 1.0} <= set().union(*checks)

    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("* *.json")}
    assert len(written) == 12
    benchmark.main()
    again = json.loads(capsys.readouterr().out)
    assert (again["heads"], again["verifiers"]) == (heads, verifiers)
    assert {file: file.stat().st_mtime_ns for file in written} == written
