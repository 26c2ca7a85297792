"""What is timed, in which order, and when a target holds; the timing itself needs a quiet machine and is no test."""

from dataclasses import replace

import pytest

from benchmarks import saturation
from benchmarks._passes import Pass, _Stopwatch, by_problem
from benchmarks._workload import GENERATION, sample, search
from engines.base import Completion, Prompt
from stepmark.errors import InputError
from stepmark.records import Problem, Sampling, Trace
from tests.filters.samples import C, I, U, candidate

# Of p, one sample is right, one wrong and one too short to search; nothing solves q; nothing of r is known to be wrong.
CASES = [
    candidate("right", "a\n", "b\n", problem="p", outcome=C),
    candidate("wrong", "a\n", "c\n", problem="p", outcome=I),
    candidate("short", "c\n", problem="p", outcome=I),
    candidate("unsolved", "a\n", "d\n", problem="q", outcome=I),
    candidate("unknown", "a\n", "e\n", problem="r", outcome=U),
    candidate("other", "a\n", "f\n", problem="r", outcome=C),
]
PROBLEMS: list[Problem] = list({case.problem.problem_id: case.problem for case in CASES}.values())
TRACES: list[Trace] = [case.trace for case in CASES]
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


def test_binary_search_gets_wrong_traces_of_solved_problems_and_the_solution_that_shows_it() -> None:
    stage = search("binary_search", PROBLEMS, TRACES, 1)
    assert [trace.trace_id for trace in stage.traces] == ["wrong", "right"]
    assert [problem.problem_id for problem in stage.problems] == ["p"]
    assert stage.in_flight == 1


def test_monte_carlo_gets_wrong_traces_and_nothing_else_to_spend_rollouts_on() -> None:
    stage = sample("monte_carlo", PROBLEMS, TRACES, 2)
    assert [trace.trace_id for trace in stage.traces] == ["wrong", "unsolved"]
    assert [problem.problem_id for problem in stage.problems] == ["p", "q"]


def test_too_few_wrong_traces_are_a_fault_that_can_be_mended() -> None:
    with pytest.raises(InputError, match=r"1 wrong traces that can be searched, not 2: give more --problems"):
        search("binary_search", PROBLEMS, TRACES, 2)


def test_the_loop_takes_one_problem_after_the_other() -> None:
    asked = [(Prompt(user=user, prefix=prefix), Sampling()) for user, prefix in ("p1", "q1", "p2", "r1", "q2")]
    assert ["".join((prompt.user, prompt.prefix)) for prompt, _ in by_problem(asked)] == ["p1", "p2", "q1", "q2", "r1"]


@pytest.mark.parametrize(
    ("product", "bare", "loop", "holds"),
    [(1000, 1000, 300, True), (890, 1000, 200, False), (1000, 1000, 400, False)],
    ids=["both", "too far below bare vLLM", "too near the loop"],
)
def test_a_stage_holds_when_both_ratios_do(product: int, bare: int, loop: int, holds: bool) -> None:
    done = {
        saturation.PRODUCT: replace(QUICK, generated_tokens=product),
        saturation.BARE: replace(QUICK, generated_tokens=bare),
        saturation.LOOP: replace(QUICK, generated_tokens=loop),
    }
    told = saturation.summary(GENERATION, [done])
    assert told["holds"] is holds
    assert (told["of_bare"], told["of_loop"]) == (round(product / bare, 3), round(product / loop, 2))
    assert saturation.table({GENERATION: told}).row_count == len(done)


def test_the_engine_is_thinly_asked_while_less_than_a_batch_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 1.0, 4.0, 6.0, 10.0, 10.0])
    monkeypatch.setattr("benchmarks._passes.time.perf_counter", lambda: next(clock))
    watch = _Stopwatch(batch=4)
    watch.ask(4)  # after 1 s of nothing
    watch.ask(-3)  # after 3 s of a whole batch
    watch.ask(-1)  # after 2 s of one completion
    answer = Completion(text="", finish_reason="stop", prompt_tokens=8, cached_tokens=2, generated_tokens=30)
    done = watch.read([[answer, replace(answer, prompt_tokens=0, cached_tokens=0)]])  # after 4 s of nothing
    assert done.thin_share == pytest.approx(0.7)
    assert (done.completions, done.generated_tokens, done.cached_share, done.speed) == (2, 60, 0.25, 6.0)
