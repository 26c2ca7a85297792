"""Tree search: true first errors, in solutions of its own too, with nothing asked twice and no budget passed."""

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
from stepmark.records import NO_ERROR, Problem, Sampling, Trace, Verdict
from tests.annotators.exploring import LINES, Explored, explored_by, sampled, walks, written
from tests.annotators.simulated import PROBLEM, WRONG, C, I, Respond, U, cut, verdicts

SURE = walks(0.8, surely=True)
RIGHT = "step 0 a\nstep 1 a\nstep 2 a\nstep 3 a\nyes"


def truth_of(trace: Trace) -> int:
    return next((index for index, step in enumerate(trace.steps) if WRONG in step), NO_ERROR)


def probes(done: Explored) -> Counter[str]:
    """How often each state was asked for rollouts."""
    return Counter(prompt.prefix for prompt, _ in done.requests)


async def test_every_first_error_that_it_names_is_the_first() -> None:
    named = Counter[bool]()
    for seed in range(1, 11):
        done = await explored_by(TreeSearch(searches=20), await sampled(SURE, 6, seed), SURE)
        for trace, annotation in zip(done.all_traces, done.annotations, strict=True):
            assert annotation.first_error in (None, truth_of(trace)), (seed, trace)
            named[trace in done.traces] += annotation.first_error not in (None, NO_ERROR)
    assert named[True] > 10
    assert named[False] > 100


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(1, 99),
    rollouts=st.integers(1, 9),
    searches=st.integers(1, 12),
    budget=st.none() | st.integers(1, 60),
    sound=st.sampled_from([0.5, 0.8, 0.95]),
)
async def test_no_state_is_probed_twice_and_nothing_costs_more_than_it_may(
    seed: int, rollouts: int, searches: int, budget: int | None, sound: float
) -> None:
    policy = walks(sound)
    done = await explored_by(
        TreeSearch(rollouts=rollouts, searches=searches, budget=budget),
        await sampled(policy, 5, seed),
        policy,
    )
    assert set(probes(done).values()) <= {1}
    assert {sampling.n for _, sampling in done.requests} <= {rollouts}
    spent = sum(sampling.n for _, sampling in done.requests)
    assert (
        spent
        == len(done.sampled_rollouts)
        == sum(annotation.cost.rollouts for annotation in done.annotations)
    )
    assert budget is None or spent <= budget
    assert len({rollout.trace_id for rollout in done.sampled_rollouts}) <= searches
    texts = ["".join(trace.steps) for trace in done.context.discovered]
    assert len(set(texts)) == len(texts)
    assert not {*texts} & {"".join(trace.steps) for trace in done.traces}


async def test_a_search_costs_at_most_as_many_probes_as_halvings() -> None:
    for seed in range(1, 9):
        done = await explored_by(TreeSearch(searches=1), await sampled(SURE, 6, seed), SURE)
        assert len(done.requests) <= 3  # of six lines and the last, none of which is known
        assert len({rollout.trace_id for rollout in done.sampled_rollouts}) <= 1


async def test_a_state_that_two_solutions_share_is_bought_once() -> None:
    own = [f"step 0 a\n{WRONG} 1\nstep 2 {letter}\nstep 3 {letter}\nno" for letter in "ab"]
    traces = await sampled(written(*own, RIGHT.replace("step 0 a", "step 0 b")), 3)
    done = await explored_by(TreeSearch(), traces, SURE)
    assert [annotation.first_error for annotation in done.annotations[:2]] == [1, 1]
    alone = await explored_by(TreeSearch(), [traces[0], traces[2]], SURE)
    assert probes(done).keys() == probes(alone).keys()


async def test_a_right_solution_proves_what_it_shares_and_an_imported_one_proves_nothing() -> None:
    wrong = f"step 0 a\nstep 1 a\nstep 2 a\n{WRONG} 3\nno"
    traces = await sampled(written(wrong, RIGHT), 2)
    known = await explored_by(TreeSearch(), traces, SURE)
    assert "step 0 a\nstep 1 a\n" not in probes(known)
    imported = [replace(trace, sampling=None) for trace in traces]
    unknown = await explored_by(TreeSearch(), imported, SURE)
    assert "step 0 a\nstep 1 a\n" in probes(unknown)
    assert known.annotations[0].first_error == unknown.annotations[0].first_error == 3


async def test_what_is_right_to_its_last_step_beside_another_has_no_error() -> None:
    other = RIGHT.replace("step 1 a", "step 1 b")
    traces = await sampled(written(RIGHT, RIGHT.replace("yes", "so, yes"), other, "no"), 4)
    done = await explored_by(TreeSearch(), traces, SURE)
    assert [
        (annotation.first_error, verdicts(annotation)) for annotation in done.annotations[:3]
    ] == [
        (NO_ERROR, "ccccc"),
        (NO_ERROR, "ccccc"),
        (None, "cuuuu"),
    ]


async def test_a_wrong_end_of_what_can_be_continued_to_a_right_one_is_undecided() -> None:
    traces = await sampled(written("step 0 a\nstep 1 a\n", RIGHT), 2)
    done = await explored_by(TreeSearch(), traces, SURE)
    assert (done.annotations[0].first_error, verdicts(done.annotations[0]), done.requests) == (
        None,
        "cu",
        [],
    )


async def test_what_is_discovered_goes_on_with_what_it_says() -> None:
    done = await explored_by(TreeSearch(searches=10), await sampled(SURE, 6), SURE)
    traces = {trace.trace_id: trace for trace in done.all_traces}
    spent = {rollout.rollout_id: rollout for rollout in done.sampled_rollouts}
    assert len(traces) == len(done.all_traces) > 10
    for found in done.context.discovered:
        rollout, parent = spent[found.rollout_id], traces[found.parent_trace_id]
        assert (rollout.trace_id, rollout.prefix_steps, rollout.seed) == (
            parent.trace_id,
            found.parent_steps,
            found.sampling and found.sampling.seed,
        )
        assert found.steps[: found.parent_steps] == parent.steps[: found.parent_steps]
        assert "".join(found.steps) == "".join(parent.steps[: found.parent_steps]) + rollout.text
        assert (found.outcome, found.problem_id, found.found_by) == (
            rollout.outcome,
            "p",
            "simulated",
        )
    continued = {rollout.trace_id for rollout in done.sampled_rollouts}
    said = dict(zip(traces, done.annotations, strict=True))
    assert all(
        said[found.trace_id].first_error is not None or found.trace_id in continued
        for found in done.context.discovered
    )


async def test_the_values_are_those_of_fair_samples() -> None:
    """Over many problems they have the policy's own mean: nothing is counted because of how it ended."""
    sound, errors = 0.75, list[float]()
    policy = walks(sound)
    for seed in range(1, 50):
        done = await explored_by(
            TreeSearch(rollouts=4, searches=9), await sampled(policy, 9, seed), policy
        )
        states = {
            "".join(trace.steps[: depth + 1]): (depth, step)
            for trace, said in zip(done.all_traces, done.annotations, strict=True)
            for depth, step in enumerate(said.steps[:LINES])
        }
        errors += [
            (step.value or 0.0) - sound ** (LINES - 1 - depth)
            for text, (depth, step) in states.items()
            if step.trials and WRONG not in text
        ]
    spread = (fmean(error**2 for error in errors) / len(errors)) ** 0.5
    assert len(errors) > 100
    assert abs(fmean(errors)) < 3 * spread


@pytest.mark.parametrize(
    ("method", "first"),
    [
        (TreeSearch(searches=1), "short"),
        (TreeSearch(searches=1, beta=1.0), "long"),  # of equals, the first
    ],
)
async def test_the_short_rollout_is_searched_first(method: TreeSearch, first: str) -> None:
    long, short = (
        f"{name}\n{WRONG}\n" + "more and more\n" * more + "no"
        for name, more in (("long", 9), ("short", 1))
    )
    done = await explored_by(method, await sampled(written(long, short, RIGHT), 3), SURE)
    assert {prompt.prefix.partition("\n")[0] for prompt, _ in done.requests} == {first}


def hopeful(prompt: Prompt, sampling: Sampling, index: int) -> str:
    if WRONG in prompt.prefix:
        return "no"
    return f"step {index}\n{WRONG} {index}\nstep\nno" if index == 0 else f"step {index}\nyes"


async def test_what_had_every_prospect_of_going_right_is_searched_before_what_had_less() -> None:
    own = [f"step {name}\nstep {name} too\n{WRONG}\nstep\nno" for name in "ab"]
    done = await explored_by(
        TreeSearch(searches=2), await sampled(written(*own, RIGHT), 3), hopeful
    )
    first, second = dict.fromkeys(rollout.trace_id for rollout in done.sampled_rollouts)
    (found,) = [found for found in done.context.discovered if found.trace_id == second]
    assert (first, found.parent_trace_id, found.parent_steps) == ("own 1.0", "own 1.0", 2)


@pytest.mark.parametrize(
    ("right", "tokens", "visits", "searches", "worth"),
    [
        (7, 500, 0, 0, 0.9 * 0.5 ** (1 / 8)),
        (1, 500, 0, 0, 0.9 * 0.5 ** (7 / 8)),
        (4, 250, 0, 0, 0.9**0.5 * 0.5**0.5),
        (4, 0, 0, 9, 0.5**0.5 + 0.375),
        (4, 0, 2, 9, 0.5**0.5 + 0.125),
    ],
)
def test_a_rollout_is_worth_what_the_paper_says(
    right: int, tokens: int, visits: int, searches: int, worth: float
) -> None:
    state = State(
        3, correct_solutions=right, sampled_outcomes=[C] * right + [I] * (8 - right), visits=visits
    )
    rollout = SolutionPath(
        states=(state,), start=state, outcome=I, generated_tokens=tokens, is_policy_sample=True
    )
    assert TreeSearch()._selection_score(rollout, searches) == pytest.approx(worth)


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
async def test_a_problem_that_cannot_be_searched_is_left_undecided_for_nothing(
    outcomes: Sequence[Verdict], problem: Problem, reason: str
) -> None:
    traces = [
        replace(trace, outcome=outcome)
        for trace, outcome in zip(await sampled(SURE, 2), outcomes, strict=True)
    ]
    done = await explored_by(TreeSearch(), traces, SURE, problem)
    assert (done.requests, done.context.discovered) == ([], [])
    assert {
        (annotation.first_error, step.verdict, step.rationale)
        for annotation in done.annotations
        for step in annotation.steps
    } == {(None, U, reason)}


POLICIES: dict[str, Respond] = {
    "walking": walks(0.6),
    "cut": cut,
    "mute": lambda *_: "",
    "hopeless": lambda *_: "no",
    "endless": lambda *_: "step\n" * 20 + "no",
    "hostile": lambda *_: "\n" * 1000 + "\0\ud800{question}",
    "stuttering": lambda prompt, *_: prompt.prefix + "yes",
}


@pytest.mark.parametrize("policy", POLICIES)
async def test_whatever_the_model_says_the_annotations_are_in_order(policy: str) -> None:
    traces = [
        *await sampled(walks(0.7), 6, 3),
        *(await sampled(written("", "yes", "no", "no\n\n"), 4, 4)),
    ]
    traces = [replace(trace, trace_id=str(number)) for number, trace in enumerate(traces)]
    done = await explored_by(TreeSearch(rollouts=3, searches=12), traces, POLICIES[policy])
    assert [annotation.trace_id for annotation in done.annotations] == [
        trace.trace_id for trace in done.all_traces
    ]
    for trace, annotation in zip(done.all_traces, done.annotations, strict=True):
        assert (annotation.error, len(annotation.steps)) == (None, len(trace.steps))
        assert annotation.first_error in (None, NO_ERROR, *range(len(trace.steps)))
        assert annotation.first_error != NO_ERROR or trace.outcome is C
        assert trace.outcome is not U or (
            annotation.first_error is None and set(verdicts(annotation)) <= {"u"}
        )
    assert set(probes(done).values()) <= {1}


async def test_what_was_cut_decides_nothing_and_ends_a_search() -> None:
    def cut_behind_two(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        return (cut if prompt.prefix.count("\n") > 2 else SURE)(prompt, sampling, index)

    traces = await sampled(
        written(f"step 0 b\nstep 1 b\nstep 2 b\nstep 3 b\n{WRONG} 4\nstep 5 b\nno", RIGHT), 2
    )
    done = await explored_by(TreeSearch(), traces, cut_behind_two)
    assert (done.annotations[0].first_error, done.annotations[0].steps[2].unknowns) == (None, 8)
    assert list(probes(done)) == ["step 0 b\nstep 1 b\nstep 2 b\n"]


async def test_the_same_problem_has_the_same_tree() -> None:
    first, second = [
        await explored_by(TreeSearch(searches=8), await sampled(SURE, 5), SURE) for _ in range(2)
    ]
    assert first.requests == second.requests
    assert first.context.discovered == second.context.discovered
    assert [said.steps for said in first.annotations] == [said.steps for said in second.annotations]
