"""Label efficiency is measured on equal completions, against bounds that are right."""

import math
from pathlib import Path

import numpy as np
import pytest

from annotators.methods.adaptive_search import AdaptiveSearch
from annotators.methods.binary_search import BinarySearch
from annotators.methods.monte_carlo import MonteCarlo
from benchmarks._bank import TOGETHER, Account, Bank
from benchmarks._ground import Ground, Labelled
from benchmarks._limit import Knowing, _blahut_arimoto, _known, _z_capacity, limit
from benchmarks._measures import difference, measured
from benchmarks._policy import Policy
from benchmarks._simulated import ground
from benchmarks.efficiency import every
from engines.base import Completion, Prompt
from engines.scripted import Scripted
from stepmark.records import NO_ERROR, Sampling

POLICY = Policy(steps=5, reliability=0.9)


@pytest.fixture
async def small() -> Ground:
    return await ground(POLICY, 12)


def numbered(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
    return Completion(
        text=f"{sampling.seed + index}",
        finish_reason="stop",
        prompt_tokens=1,
        cached_tokens=0,
        generated_tokens=3,
    )


async def test_methods_draw_the_same_completions_however_they_ask() -> None:
    bank, prompt = Bank(engine=Scripted(respond=numbered)), Prompt(user="q", prefix="p")
    at_once, in_turn = (Account(engine=bank, trace_id="t") for _ in range(2))
    asked = await at_once.complete(prompt, Sampling(n=TOGETHER + 3, seed=1))
    assert asked == [
        one
        for n in (1, 2, TOGETHER)
        for one in await in_turn.complete(prompt, Sampling(n=n, seed=n))
    ]
    assert len({one.text for one in asked}) == TOGETHER + 3
    assert asked[0] not in await Account(engine=bank, trace_id="other").complete(
        prompt, Sampling(n=1, seed=1)
    )


async def test_a_bank_outlives_its_run_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file, asked = tmp_path / "bank.jsonl", list[Prompt]()

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        asked.append(prompt)
        return numbered(prompt, sampling, index)

    engine = Scripted(respond=respond)
    first = await Bank(engine=engine, file=file).complete(Prompt(user="q"), Sampling(n=2, seed=7))
    with file.open("a") as lines:
        lines.write('{"key": "')
    again = Bank(engine=engine, file=file)
    again.load()
    assert await again.complete(Prompt(user="q"), Sampling(n=2, seed=7)) == first
    assert len(asked) == 2


@pytest.mark.parametrize("right", [0.2, 0.6, 0.95])
def test_the_capacity_of_a_z_channel_is_what_the_iteration_finds(right: float) -> None:
    assert _blahut_arimoto(np.array([[right, 1 - right], [1e-12, 1.0]])) == pytest.approx(
        _z_capacity(right), abs=1e-3
    )
    assert _blahut_arimoto(np.array([[right, 1 - right], [1 - right, right]])) == pytest.approx(
        1 - entropy(right), abs=1e-3
    )


def entropy(chance: float) -> float:
    return -chance * math.log2(chance) - (1 - chance) * math.log2(1 - chance)


def test_what_is_known_of_the_policy_is_how_it_behaves() -> None:
    known = _known(POLICY, "3")
    assert known.prior.sum() == pytest.approx(1)
    assert known.ends.sum(axis=2) == pytest.approx(1, abs=1e-6)
    problem = next(one for one in POLICY.problems(4) if one.problem_id == "3")
    drawn = [
        POLICY.respond(Prompt(user=problem.question), Sampling(seed=0), index).text
        for index in range(3000)
    ]
    right = np.mean([text.rstrip().endswith("answer is 0.") for text in drawn])
    assert right == pytest.approx(known.reach[0] + (1 - known.reach[0]) * POLICY.harmless, abs=0.03)
    flawed = [text.splitlines() for text in drawn if "?" in text]
    first = np.bincount(
        [next(i for i, step in enumerate(steps) if "?" in step) for steps in flawed],
        minlength=POLICY.steps,
    )
    assert first / first.sum() == pytest.approx(known.places(known.prior), abs=0.05)


async def test_who_knows_the_policy_needs_no_fewer_rollouts_than_the_bound_and_is_as_right_as_sure(
    small: Ground,
) -> None:
    done = await small.labelled(Knowing(policy=POLICY, confidence=0.9))
    row, least = measured(done, every), limit(small, POLICY, every, done)
    assert 0 < least.told <= least.doubt
    assert least.rollouts <= least.rollouts_binary
    assert row.rollouts >= least.rollouts
    assert row.exact.value > 0.75


async def test_what_a_search_did_not_know_counts_from_what_it_believed_before_it_bought(
    small: Ground,
) -> None:
    unbought, bought = (
        await small.labelled(AdaptiveSearch(budget=0)),
        await small.labelled(AdaptiveSearch()),
    )
    assert limit(small, POLICY, every, unbought, unbought).own == 0
    least = limit(small, POLICY, every, bought, unbought)
    assert least.own is not None
    assert least.own_z is not None
    assert least.own > least.own_z > 1
    assert limit(small, POLICY, every, bought).own is None


async def test_paired_figures_are_of_wrong_traces_and_their_problems(small: Ground) -> None:
    everywhere, bisected = (
        await small.labelled(MonteCarlo()),
        await small.labelled(BinarySearch(right_answers="search")),
    )
    row = measured(everywhere, lambda _: True)
    wrong = [one for one in everywhere.found if one.truth != NO_ERROR]
    assert row.traces == len(wrong) < len(everywhere.found)
    assert row.exact.value == np.mean([one.said.first_error == one.truth for one in wrong])
    assert row.exact.low <= row.exact.value <= row.exact.high
    assert row.rollouts == 8 * (POLICY.steps - 1)
    exact, tokens = difference(bisected, everywhere, lambda _: True)
    assert tokens.value < 1
    assert exact.value == pytest.approx(
        measured(bisected, lambda _: True).exact.value - row.exact.value
    )
    same, all_of_them = difference(everywhere, everywhere, lambda _: True)
    assert (same.low, same.high, all_of_them.low, all_of_them.high) == (0, 0, 1, 1)


async def test_several_grounds_are_measured_as_one(small: Ground) -> None:
    other = await ground(Policy(steps=4, reliability=0.8), 8)
    each = [await one.labelled(MonteCarlo(rollouts=2)) for one in (small, other)]
    rows, whole = [measured(done, every) for done in each], measured(Labelled.of(each), every)
    assert whole.traces == sum(row.traces for row in rows)
    assert whole.exact.value == pytest.approx(
        sum(row.traces * row.exact.value for row in rows) / whole.traces
    )
    spent = [len(done.found) * row.own_ms for done, row in zip(each, rows, strict=True)]
    assert whole.own_ms == pytest.approx(sum(spent) / sum(len(done.found) for done in each))
