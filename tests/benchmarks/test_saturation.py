"""What is timed, in which order, and when a target holds; the timing itself needs a quiet machine and is no test."""

from dataclasses import replace

import psutil  # type: ignore[import-untyped]
import pytest

from benchmarks import saturation
from benchmarks._passes import Pass, _Stopwatch, by_problem
from benchmarks._targets import HELD, MISSED, OPEN
from benchmarks._workload import GENERATION, gold, labelling, spoiled
from engines.base import Completion, Prompt
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, Sampling, Verdict

SOURCE = WordProblems(count=40, seed=7, min_steps=2, max_steps=8)
PROBLEMS = [row for row in SOURCE.problems() if isinstance(row, Problem)]
QUICK = Pass(
    requests=1,
    completions=1,
    generated_tokens=1000,
    cached_share=0.5,
    seconds=1.0,
    thin_share=0.0,
    own_cores=0.1,
    foreign_cores=0.0,
)


def test_binary_search_gets_wrong_traces_and_a_solution_of_each_problem_that_shows_it_can_be_solved() -> (
    None
):
    stage = labelling("binary_search", PROBLEMS, 80, solved=True)
    outcomes = [trace.outcome for trace in stage.traces]
    assert (
        outcomes.count(Verdict.INCORRECT),
        outcomes.count(Verdict.CORRECT),
        len(stage.problems),
    ) == (80, 20, 20)
    assert stage.in_flight == 80
    assert len({trace.trace_id for trace in stage.traces}) == 100


def test_monte_carlo_gets_nothing_beside_the_wrong_traces_to_spend_rollouts_on() -> None:
    stage = labelling("monte_carlo", PROBLEMS, 80, solved=False)
    assert {trace.outcome for trace in stage.traces} == {Verdict.INCORRECT}


def test_outcomes_are_what_the_oracle_says() -> None:
    for problem in PROBLEMS:
        assert [verdict for verdict, _ in SOURCE.judge(problem, gold(problem).steps)].count(
            Verdict.CORRECT
        ) == len(gold(problem).steps)
        wrong = spoiled(problem, 0)
        assert SOURCE.judge(problem, wrong.steps)[-1][0] is Verdict.INCORRECT
        assert wrong.final_answer != problem.answer
        assert wrong == spoiled(problem, 0)


def test_the_loop_takes_one_problem_after_the_other() -> None:
    asked = [
        (Prompt(user=user, prefix=prefix), Sampling())
        for user, prefix in ("p1", "q1", "p2", "r1", "q2")
    ]
    assert ["".join((prompt.user, prompt.prefix)) for prompt, _ in by_problem(asked)] == [
        "p1",
        "p2",
        "q1",
        "q2",
        "r1",
    ]


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
        "both",
        "below bare vLLM by less than a round tells",
        "so in every round",
        "far below bare vLLM",
        "too near the loop",
    ],
)
def test_a_stage_holds_when_both_ratios_do(
    product: int, bare: int, loop: int, rounds: int, verdict: str
) -> None:
    done = {
        saturation.PRODUCT: replace(QUICK, generated_tokens=product),
        saturation.BARE: replace(QUICK, generated_tokens=bare),
        saturation.LOOP: replace(QUICK, generated_tokens=loop),
    }
    told = saturation.summary(GENERATION, [done] * rounds)
    assert told["verdict"] == verdict
    assert (told["of_bare"], told["of_loop"]) == (
        round(product / bare, 3),
        round(product / loop, 2),
    )
    assert saturation.table({GENERATION: told}).row_count == len(done)


def test_what_others_took_of_the_processor_is_told_apart() -> None:
    slowed = replace(QUICK, generated_tokens=750, foreign_cores=0.25 * psutil.cpu_count())
    told = saturation.summary(
        GENERATION, [{saturation.PRODUCT: slowed, saturation.BARE: QUICK, saturation.LOOP: QUICK}]
    )
    assert (told["of_bare"], told["of_bare_by_free_cores"]) == (0.75, 1.0)


def test_the_engine_is_thinly_asked_while_less_than_a_batch_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.0, 1.0, 4.0, 6.0, 10.0, 10.0])
    monkeypatch.setattr("benchmarks._passes.time.perf_counter", lambda: next(clock))
    watch = _Stopwatch(batch=4)
    watch.ask(4)  # after 1 s of nothing
    watch.ask(-3)  # after 3 s of a whole batch
    watch.ask(-1)  # after 2 s of one completion
    answer = Completion(
        text="", finish_reason="stop", prompt_tokens=8, cached_tokens=2, generated_tokens=30
    )
    done = watch.read(
        [[answer, replace(answer, prompt_tokens=0, cached_tokens=0)]]
    )  # after 4 s of nothing
    assert done.thin_share == pytest.approx(0.7)
    assert (done.completions, done.generated_tokens, done.cached_share, done.speed) == (
        2,
        60,
        0.25,
        6.0,
    )
