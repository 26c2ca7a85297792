"""The timed work, its order and the verdicts; the timing itself needs an idle machine."""

from dataclasses import replace

import psutil  # type: ignore[import-untyped]
import pytest

from benchmarks.common.stage import GENERATION
from benchmarks.common.targets import HELD, MISSED, OPEN
from benchmarks.saturation.benchmark import BARE, LOOP, PRODUCT, summarize, summary_table
from benchmarks.saturation.passes import by_problem
from benchmarks.saturation.stopwatch import Pass, Stopwatch
from benchmarks.saturation.workload import annotation_stage, gold_trace, wrong_trace
from engines.base import Completion, Prompt
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, Sampling, Verdict

SOURCE = WordProblems(count=40, seed=7, min_steps=2, max_steps=8)
PROBLEMS = [row for row in SOURCE.problems() if isinstance(row, Problem)]
PASS = Pass(
    requests=1,
    completions=1,
    generated_tokens=1000,
    cached_share=0.5,
    seconds=1.0,
    thin_share=0.0,
    own_cores=0.1,
    foreign_cores=0.0,
)


def test_binary_search_stage_contains_gold_traces() -> None:
    stage = annotation_stage("binary_search", PROBLEMS, 80, with_gold=True)
    outcomes = [trace.outcome for trace in stage.traces]
    assert outcomes.count(Verdict.INCORRECT) == 80
    assert outcomes.count(Verdict.CORRECT) == 20
    assert len(stage.problems) == 20
    assert stage.in_flight == 80
    assert len({trace.trace_id for trace in stage.traces}) == 100


def test_monte_carlo_stage_lacks_gold_traces() -> None:
    stage = annotation_stage("monte_carlo", PROBLEMS, 80, with_gold=False)
    assert {trace.outcome for trace in stage.traces} == {Verdict.INCORRECT}


def test_outcomes_agree_with_the_oracle() -> None:
    for problem in PROBLEMS:
        gold = gold_trace(problem)
        verdicts = [verdict for verdict, _ in SOURCE.judge(problem, gold.steps)]
        assert verdicts.count(Verdict.CORRECT) == len(gold.steps)
        wrong = wrong_trace(problem, 0)
        assert SOURCE.judge(problem, wrong.steps)[-1][0] is Verdict.INCORRECT
        assert wrong.final_answer != problem.answer
        assert wrong == wrong_trace(problem, 0)


def test_loop_finishes_one_problem_first() -> None:
    requests = list[tuple[Prompt, Sampling]]()
    for user, prefix in ("p1", "q1", "p2", "r1", "q2"):
        requests.append((Prompt(user=user, prefix=prefix), Sampling()))
    ordered = [prompt.user + prompt.prefix for prompt, _ in by_problem(requests)]
    assert ordered == ["p1", "p2", "q1", "q2", "r1"]


@pytest.mark.parametrize(
    ("product", "bare", "loop", "rounds", "verdict"),
    [
        (1000, 1000, 300, 1, HELD),
        (850, 1000, 200, 1, OPEN),
        (850, 1000, 200, 9, MISSED),
        (800, 1000, 200, 1, MISSED),
        (1000, 1000, 400, 1, MISSED),
    ],
    ids=[
        "both held",
        "slightly below bare vLLM in one round",
        "slightly below bare vLLM in all rounds",
        "far below bare vLLM",
        "too close to the loop",
    ],
)
def test_stage_needs_both_ratios(
    product: int, bare: int, loop: int, rounds: int, verdict: str
) -> None:
    passes = {
        PRODUCT: replace(PASS, generated_tokens=product),
        BARE: replace(PASS, generated_tokens=bare),
        LOOP: replace(PASS, generated_tokens=loop),
    }
    summary = summarize(GENERATION, [passes] * rounds)
    assert summary["verdict"] == verdict
    assert summary["of_bare"] == round(product / bare, 3)
    assert summary["of_loop"] == round(product / loop, 2)
    assert summary_table({GENERATION: summary}).row_count == len(passes)


def test_foreign_cpu_usage_is_corrected() -> None:
    # Other processes use a quarter of all cores.
    slowed = replace(PASS, generated_tokens=750, foreign_cores=0.25 * psutil.cpu_count())
    summary = summarize(GENERATION, [{PRODUCT: slowed, BARE: PASS, LOOP: PASS}])
    assert summary["of_bare"] == 0.75
    assert summary["of_bare_by_free_cores"] == 1.0


def test_thin_share_counts_partial_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 1.0, 4.0, 6.0, 10.0, 10.0])
    monkeypatch.setattr("benchmarks.saturation.stopwatch.time.perf_counter", lambda: next(clock))
    stopwatch = Stopwatch(batch_size=4)
    stopwatch.add_requested(4)  # after 1 s without requests
    stopwatch.add_requested(-3)  # after 3 s with a full batch
    stopwatch.add_requested(-1)  # after 2 s with one completion
    answer = Completion(
        text="", finish_reason="stop", prompt_tokens=8, cached_tokens=2, generated_tokens=30
    )
    sibling = replace(answer, prompt_tokens=0, cached_tokens=0)
    measured = stopwatch.read([[answer, sibling]])  # after 4 s without requests
    # 7 of 10 seconds lack a full batch.
    assert measured.thin_share == pytest.approx(0.7)
    assert (measured.completions, measured.generated_tokens) == (2, 60)
    # 2 of 8 prompt tokens are cached, and 60 tokens take 10 s.
    assert (measured.cached_share, measured.speed) == (0.25, 6.0)
