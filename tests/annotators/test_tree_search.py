"""Tree search: true first errors in sampled and discovered traces, shared states, and budgets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.methods.tree_search import TreeSearch
from annotators.search.solution_tree import SolutionPath, State
from engines.base import Completion, Prompt
from stepmark.records import NO_ERROR, Problem, Sampling, StepAnnotation, Trace, Verdict
from tests.annotators.problem_simulation import (
    LINES,
    ProblemRun,
    annotate_problem,
    fixed_texts,
    random_walks,
    sample_traces,
)
from tests.annotators.simulated import (
    PROBLEM,
    WRONG,
    C,
    I,
    Respond,
    U,
    cut,
    sample_counts,
    verdicts,
)
from tests.columns import column

SOLVABLE = random_walks(0.8, surely=True)
"""From every sound prefix it samples at least one correct rollout per request."""
CORRECT_TEXT = "step 0 a\nstep 1 a\nstep 2 a\nstep 3 a\nyes"


def true_first_error(trace: Trace) -> int:
    for index, step in enumerate(trace.steps):
        if WRONG in step:
            return index
    return NO_ERROR


def requests_by_state(run: ProblemRun) -> Counter[str]:
    """Return the number of requests per state, which is named by its text."""
    return Counter(prompt.prefix for prompt, _ in run.requests)


def text_set(traces: Sequence[Trace]) -> set[str]:
    return {"".join(trace.steps) for trace in traces}


async def test_first_errors_are_true() -> None:
    sampled_count = 0
    discovered_count = 0
    for seed in range(1, 11):
        traces = await sample_traces(SOLVABLE, 6, seed)
        run = await annotate_problem(TreeSearch(searches=20), traces, SOLVABLE)
        for trace, annotation in zip(run.all_traces, run.annotations, strict=True):
            assert annotation.first_error in (None, true_first_error(trace)), (seed, trace)
            if annotation.first_error in (None, NO_ERROR):
                continue
            if trace in run.traces:
                sampled_count += 1
            else:
                discovered_count += 1
    # The loop has checked many traces of both kinds.
    assert sampled_count > 10
    assert discovered_count > 100


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(1, 99),
    rollouts=st.integers(1, 9),
    searches=st.integers(1, 12),
    budget=st.none() | st.integers(1, 60),
    sound=st.sampled_from([0.5, 0.8, 0.95]),
)
async def test_states_are_probed_once_within_budget(
    seed: int, rollouts: int, searches: int, budget: int | None, sound: float
) -> None:
    policy = random_walks(sound)
    traces = await sample_traces(policy, 5, seed)
    method = TreeSearch(rollouts=rollouts, searches=searches, budget=budget)
    run = await annotate_problem(method, traces, policy)
    assert set(requests_by_state(run).values()) <= {1}
    request_sizes = sample_counts(run.requests)
    assert set(request_sizes) <= {rollouts}
    requested = sum(request_sizes)
    recorded = sum(column(run.annotations, "cost.rollouts"))
    assert requested == len(run.sampled_rollouts) == recorded
    assert budget is None or requested <= budget
    assert len(set(column(run.sampled_rollouts, "trace_id"))) <= searches
    discovered_texts = text_set(run.context.discovered)
    assert len(discovered_texts) == len(run.context.discovered)
    assert discovered_texts.isdisjoint(text_set(run.traces))


async def test_search_takes_logarithmic_probes() -> None:
    for seed in range(1, 9):
        traces = await sample_traces(SOLVABLE, 6, seed)
        run = await annotate_problem(TreeSearch(searches=1), traces, SOLVABLE)
        # A solution has six lines and an answer, and three halvings locate its first error.
        assert len(run.requests) <= 3
        assert len(set(column(run.sampled_rollouts, "trace_id"))) <= 1


async def test_shared_states_are_probed_once() -> None:
    texts = list[str]()
    for letter in "ab":
        texts.append(f"step 0 a\n{WRONG} 1\nstep 2 {letter}\nstep 3 {letter}\nno")
    correct = CORRECT_TEXT.replace("step 0 a", "step 0 b")
    traces = await sample_traces(fixed_texts(*texts, correct), 3)
    run = await annotate_problem(TreeSearch(), traces, SOLVABLE)
    assert column(run.annotations[:2], "first_error") == [1, 1]
    run_with_one = await annotate_problem(TreeSearch(), [traces[0], traces[2]], SOLVABLE)
    assert requests_by_state(run).keys() == requests_by_state(run_with_one).keys()


async def test_only_policy_samples_prove_states() -> None:
    """A correct trace proves the steps that it shares, unless it was imported."""
    wrong = f"step 0 a\nstep 1 a\nstep 2 a\n{WRONG} 3\nno"
    traces = await sample_traces(fixed_texts(wrong, CORRECT_TEXT), 2)
    run = await annotate_problem(TreeSearch(), traces, SOLVABLE)
    assert "step 0 a\nstep 1 a\n" not in requests_by_state(run)
    imported = [replace(trace, sampling=None) for trace in traces]
    imported_run = await annotate_problem(TreeSearch(), imported, SOLVABLE)
    assert "step 0 a\nstep 1 a\n" in requests_by_state(imported_run)
    assert run.annotations[0].first_error == imported_run.annotations[0].first_error == 3


async def test_shared_correct_solutions_have_no_error() -> None:
    """A correct solution is cleared if another one shares all of its steps but the last."""
    last_step_differs = CORRECT_TEXT.replace("yes", "so, yes")
    second_step_differs = CORRECT_TEXT.replace("step 1 a", "step 1 b")
    texts = (CORRECT_TEXT, last_step_differs, second_step_differs, "no")
    traces = await sample_traces(fixed_texts(*texts), 4)
    run = await annotate_problem(TreeSearch(), traces, SOLVABLE)
    assert column(run.annotations[:3], "first_error") == [NO_ERROR, NO_ERROR, None]
    assert list(map(verdicts, run.annotations[:3])) == ["ccccc", "ccccc", "cuuuu"]


async def test_wrong_prefix_of_correct_is_undecided() -> None:
    """The whole incorrect solution can be continued to a correct one."""
    traces = await sample_traces(fixed_texts("step 0 a\nstep 1 a\n", CORRECT_TEXT), 2)
    run = await annotate_problem(TreeSearch(), traces, SOLVABLE)
    assert run.annotations[0].first_error is None
    assert verdicts(run.annotations[0]) == "cu"
    assert run.requests == []


async def test_discovered_traces_keep_lineage() -> None:
    run = await annotate_problem(
        TreeSearch(searches=10), await sample_traces(SOLVABLE, 6), SOLVABLE
    )
    traces = {trace.trace_id: trace for trace in run.all_traces}
    rollouts = {rollout.rollout_id: rollout for rollout in run.sampled_rollouts}
    assert len(traces) == len(run.all_traces) > 10
    for discovered in run.context.discovered:
        rollout = rollouts[discovered.rollout_id]
        parent = traces[discovered.parent_trace_id]
        prefix = parent.steps[: discovered.parent_steps]
        assert rollout.trace_id == parent.trace_id
        assert rollout.prefix_steps == discovered.parent_steps
        assert discovered.sampling is not None
        assert discovered.sampling.seed == rollout.seed
        assert discovered.steps[: discovered.parent_steps] == prefix
        assert "".join(discovered.steps) == "".join(prefix) + rollout.text
        assert discovered.outcome == rollout.outcome
        assert (discovered.problem_id, discovered.found_by) == ("p", "simulated")
        assert discovered.method == discovered.found_by


async def test_discovered_traces_are_decided_or_continued() -> None:
    run = await annotate_problem(
        TreeSearch(searches=10), await sample_traces(SOLVABLE, 6), SOLVABLE
    )
    continued = set(column(run.sampled_rollouts, "trace_id"))
    annotations = {annotation.trace_id: annotation for annotation in run.annotations}
    for discovered in run.context.discovered:
        annotation = annotations[discovered.trace_id]
        assert annotation.first_error is not None or discovered.trace_id in continued


async def test_values_are_unbiased() -> None:
    """Over many problems the mean error of the values is within three standard errors of zero."""
    sound = 0.75
    policy = random_walks(sound)
    method = TreeSearch(rollouts=4, searches=9)
    errors = list[float]()
    for seed in range(1, 50):
        # Each round is a problem of its own: equal prefixes of one problem have equal rollouts.
        traces = list[Trace]()
        for trace in await sample_traces(policy, 9, seed):
            traces.append(replace(trace, problem_id=f"problem {seed}"))
        run = await annotate_problem(method, traces, policy)
        # A state that several traces share counts once.
        steps_by_text = dict[str, tuple[int, StepAnnotation]]()
        for trace, annotation in zip(run.all_traces, run.annotations, strict=True):
            for index, step in enumerate(annotation.steps[:LINES]):
                steps_by_text["".join(trace.steps[: index + 1])] = (index, step)
        for text, (index, step) in steps_by_text.items():
            if step.trials and WRONG not in text:
                errors.append((step.value or 0.0) - sound ** (LINES - 1 - index))
    standard_error = (fmean(error**2 for error in errors) / len(errors)) ** 0.5
    assert len(errors) > 100
    assert abs(fmean(errors)) < 3 * standard_error


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (TreeSearch(searches=1), "short"),
        # With beta = 1 the length does not count, and the first of equals is selected.
        (TreeSearch(searches=1, beta=1.0), "long"),
    ],
)
async def test_short_rollouts_are_searched_first(method: TreeSearch, expected: str) -> None:
    long_text = f"long\n{WRONG}\n" + "more and more\n" * 9 + "no"
    short_text = f"short\n{WRONG}\n" + "more and more\n" + "no"
    traces = await sample_traces(fixed_texts(long_text, short_text, CORRECT_TEXT), 3)
    run = await annotate_problem(method, traces, SOLVABLE)
    assert {prompt.prefix.partition("\n")[0] for prompt, _ in run.requests} == {expected}


def mostly_solves(prompt: Prompt, sampling: Sampling, index: int) -> str:
    """From a sound prefix all rollouts but the first are correct."""
    if WRONG in prompt.prefix:
        return "no"
    if index == 0:
        return f"step {index}\n{WRONG} {index}\nstep\nno"
    return f"step {index}\nyes"


async def test_states_with_high_value_are_preferred() -> None:
    """The second search takes the rollout from the probed state, not the second sample."""
    texts = [f"step {name}\nstep {name} too\n{WRONG}\nstep\nno" for name in "ab"]
    traces = await sample_traces(fixed_texts(*texts, CORRECT_TEXT), 3)
    run = await annotate_problem(TreeSearch(searches=2), traces, mostly_solves)
    first, second = dict.fromkeys(rollout.trace_id for rollout in run.sampled_rollouts)
    (searched,) = [trace for trace in run.context.discovered if trace.trace_id == second]
    assert first == "own 1.0"
    assert (searched.parent_trace_id, searched.parent_steps) == ("own 1.0", 2)


@pytest.mark.parametrize(
    ("correct", "tokens", "visits", "searches", "score"),
    [
        # 0.5 ** (1 - correct / 8) * 0.9 ** (tokens / 500).
        (7, 500, 0, 0, 0.9 * 0.5 ** (1 / 8)),
        (1, 500, 0, 0, 0.9 * 0.5 ** (7 / 8)),
        (4, 250, 0, 0, 0.9**0.5 * 0.5**0.5),
        # Plus 0.125 * sqrt(searches) / (1 + visits).
        (4, 0, 0, 9, 0.5**0.5 + 0.375),
        (4, 0, 2, 9, 0.5**0.5 + 0.125),
    ],
)
def test_selection_score_follows_the_paper(
    correct: int, tokens: int, visits: int, searches: int, score: float
) -> None:
    outcomes = [C] * correct + [I] * (8 - correct)
    state = State(3, correct_solutions=correct, sampled_outcomes=outcomes, visits=visits)
    rollout = SolutionPath(
        states=(state,), start=state, outcome=I, generated_tokens=tokens, is_policy_sample=True
    )
    assert TreeSearch()._selection_score(rollout, searches) == pytest.approx(score)


@pytest.mark.parametrize(
    ("outcomes", "problem", "reason"),
    [
        ((C, C), PROBLEM, "no sample is wrong"),
        ((I, U), PROBLEM, "no sample solves the problem"),
        ((U, U), PROBLEM, "no sample solves the problem"),
        ((C, U), PROBLEM, "no sample is wrong"),
        ((C, I), replace(PROBLEM, answer=None), "no reference answer to grade rollouts with"),
    ],
)
async def test_abstains_without_requests(
    outcomes: Sequence[Verdict], problem: Problem, reason: str
) -> None:
    traces = list[Trace]()
    for trace, outcome in zip(await sample_traces(SOLVABLE, 2), outcomes, strict=True):
        traces.append(replace(trace, outcome=outcome))
    run = await annotate_problem(TreeSearch(), traces, SOLVABLE, problem)
    assert (run.requests, run.context.discovered) == ([], [])
    for annotation in run.annotations:
        assert annotation.first_error is None
        for step in annotation.steps:
            assert (step.verdict, step.rationale) == (U, reason)


POLICIES: dict[str, Respond] = {
    "random": random_walks(0.6),
    "truncated": cut,
    "empty": lambda *_: "",
    "never solves": lambda *_: "no",
    "long": lambda *_: "step\n" * 20 + "no",
    "hostile": lambda *_: "\n" * 1000 + "\0\ud800{question}",
    "repeats the prefix": lambda prompt, *_: prompt.prefix + "yes",
}


@pytest.mark.parametrize("policy", POLICIES)
async def test_annotations_are_valid_for_any_reply(policy: str) -> None:
    traces = list[Trace]()
    traces.extend(await sample_traces(random_walks(0.7), 6, 3))
    traces.extend(await sample_traces(fixed_texts("", "yes", "no", "no\n\n"), 4, 4))
    traces = [replace(trace, trace_id=str(number)) for number, trace in enumerate(traces)]
    method = TreeSearch(rollouts=3, searches=12)
    run = await annotate_problem(method, traces, POLICIES[policy])
    for trace, annotation in zip(run.all_traces, run.annotations, strict=True):
        assert (annotation.trace_id, annotation.error) == (trace.trace_id, None)
        assert len(annotation.steps) == len(trace.steps)
        assert annotation.first_error in (None, NO_ERROR, *range(len(trace.steps)))
        assert annotation.first_error != NO_ERROR or trace.outcome is C
        if trace.outcome is U:
            assert annotation.first_error is None
            assert set(verdicts(annotation)) <= {"u"}
    assert set(requests_by_state(run).values()) <= {1}


async def test_undecided_probe_ends_search() -> None:
    def truncate_after_two_lines(
        prompt: Prompt, sampling: Sampling, index: int
    ) -> str | Completion:
        respond = cut if prompt.prefix.count("\n") > 2 else SOLVABLE
        return respond(prompt, sampling, index)

    wrong = f"step 0 b\nstep 1 b\nstep 2 b\nstep 3 b\n{WRONG} 4\nstep 5 b\nno"
    traces = await sample_traces(fixed_texts(wrong, CORRECT_TEXT), 2)
    run = await annotate_problem(TreeSearch(), traces, truncate_after_two_lines)
    assert run.annotations[0].first_error is None
    # All rollouts of the probe are truncated.
    assert run.annotations[0].steps[2].unknowns == 8
    assert list(requests_by_state(run)) == ["step 0 b\nstep 1 b\nstep 2 b\n"]


async def test_repeated_run_is_identical() -> None:
    runs = list[ProblemRun]()
    for _ in range(2):
        traces = await sample_traces(SOLVABLE, 5)
        runs.append(await annotate_problem(TreeSearch(searches=8), traces, SOLVABLE))
    first, second = runs
    assert first.requests == second.requests
    assert first.context.discovered == second.context.discovered
    for annotation, repeated in zip(first.annotations, second.annotations, strict=True):
        assert annotation.steps == repeated.steps
