"""The posterior over the first error is Bayes' rule, and an expected gain is what completions give on average."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators import _first_error
from annotators._first_error import (
    OTHER,
    RIGHT,
    SAME,
    Belief,
    Observation,
    Weights,
    _effective,
    _Known,
    default,
    fitted,
    told,
    weighed,
)
from annotators._signs import SILENT, met, normal, prior, signs_of
from stepmark.records import Annotation, StepAnnotation, Verdict

NEVER_VERBATIM = 0.01
ENDS = (RIGHT, SAME, OTHER)


def belief(steps: int, seen: Sequence[tuple[int, int, int]] = (), *, right: bool = False, verbatim: float = NEVER_VERBATIM) -> Belief:
    made = Belief(signs_of(steps, []), right=right, verbatim=verbatim)
    for one in seen:
        made.see(Observation(*one))
    return made


def posterior(
    steps: int, seen: Sequence[tuple[int, int, int]] = (), *, right: bool = False, verbatim: float = NEVER_VERBATIM
) -> np.ndarray:
    return gained(belief(steps, seen, right=right, verbatim=verbatim))[0]


def gained(known: Belief, weights: Weights | None = None) -> tuple[np.ndarray, np.ndarray]:
    (found,) = weighed([known], [weights or default()])
    return found


def evidence(known: Belief) -> float:
    return float(np.logaddexp.reduce(_Known.of([known]).joint(default())[0], axis=1)[0])


@pytest.fixture
def independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if completions were not alike."""
    monkeypatch.setattr(_first_error, "ALIKE", 0.0)
    monkeypatch.setattr(_first_error, "_REMEMBERED", {})


@st.composite
def observations(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    steps = draw(st.integers(1, 9))
    one = st.integers(0, steps - 1).flatmap(lambda start: st.tuples(st.just(start), st.integers(start, steps), st.sampled_from(ENDS)))
    return steps, draw(st.lists(one, max_size=12))


@settings(max_examples=60)
@given(observations(), st.booleans(), st.randoms())
def test_a_posterior_is_one_whatever_was_seen_and_in_whatever_order(
    case: tuple[int, list[tuple[int, int, int]]], right: bool, shuffler: object
) -> None:
    steps, seen = case
    chance, gains = gained(belief(steps, seen, right=right))
    assert chance.sum() == pytest.approx(1)
    assert (chance >= 0).all()
    assert (gains > -1e-9).all()
    assert right or chance[-1] == 0
    shuffled = list(reversed(seen))
    assert posterior(steps, shuffled, right=right) == pytest.approx(chance, abs=1e-9)


def test_a_right_completion_speaks_for_its_prefix_and_the_traces_own_answer_against_it() -> None:
    before = posterior(6)
    assert posterior(6, [(3, 3, RIGHT)])[:3].sum() < before[:3].sum() / 3
    assert posterior(6, [(3, 3, SAME)])[:3].sum() > 1.15 * before[:3].sum()
    assert abs(posterior(6, [(3, 3, OTHER)])[:3].sum() - before[:3].sum()) < 0.2


def test_no_error_is_for_right_answers_alone_and_needs_little_proof() -> None:
    assert posterior(5)[-1] == 0
    assert posterior(5, right=True)[-1] > 0.9
    suspicious = [(start, start, OTHER) for start in (2, 3, 4) for _ in range(4)] + [(1, 1, RIGHT)] * 4
    assert posterior(5, suspicious, right=True)[1] > posterior(5, right=True)[1]


def test_who_went_the_same_way_and_came_out_right_clears_the_way() -> None:
    assert posterior(6, [(0, 4, RIGHT)] * 3)[:4].sum() < 0.01


def test_where_completions_cease_to_differ_is_the_error_not_where_they_began() -> None:
    """Whoever passes step 4 goes on as the trace does, half of them leave there, and hardly anyone is right: it is hard, and failed."""
    seen = [(start, leaves, how) for start in range(5) for leaves, how in [(4, OTHER), (6, SAME)] * 3] + [(5, 6, SAME)] * 6
    chance = posterior(6, [*seen, (0, 4, RIGHT)], verbatim=0.9)
    assert chance.argmax() == 4
    assert chance[4] > 0.5


def test_a_step_that_few_repeat_behind_the_error_is_no_proof_against_it() -> None:
    right_before = [(1, 1, RIGHT)] * 4 + [(2, 2, RIGHT)] * 4
    astray_later = [(3, 4, OTHER)] * 5 + [(3, 6, SAME)] + [(5, 6, SAME)] * 4
    assert posterior(6, right_before + astray_later, verbatim=0.9).argmax() in (2, 3)


def test_a_step_that_is_failed_time_and_again_in_one_way_is_told_from_an_error_before_it() -> None:
    seen = [Observation(5, 5, RIGHT)] * 3 + [Observation(5, 7, SAME)] * 14
    others = [Observation(1, 2, RIGHT)] * 4 + [Observation(1, 3, OTHER)] * 9
    assert posterior(7, seen, verbatim=0.9)[5] > 0.08
    assert posterior(5, others, verbatim=0.9).argmax() == 2


@pytest.mark.parametrize("seen", [[], [(0, 0, RIGHT)], [(2, 2, SAME), (1, 1, OTHER)], [(3, 3, RIGHT), (3, 3, SAME)]])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.usefixtures("independent")  # else likelihoods are no probabilities, and averages of them no averages
def test_a_gain_is_what_one_more_completion_takes_from_the_doubt_on_average(seen: list[tuple[int, int, int]], right: bool) -> None:
    steps = 5
    chance, gains = gained(belief(steps, seen, right=right))
    for prefix in range(steps):
        expected = 0.0
        for how in ENDS:
            more = posterior(steps, [*seen, (prefix, prefix, how)], right=right)
            expected += more_likely(belief(steps, seen, right=right), prefix, how) * entropy(more)
        assert gains[prefix] == pytest.approx(entropy(chance) - expected, abs=0.02)


@pytest.mark.parametrize(("count", "counts"), [(0, 0), (1, 1), (2, 2 / 1.2), (6, 6 / 2)])
def test_completions_that_are_alike_count_for_fewer(count: int, counts: float) -> None:
    assert _effective(np.array(count)) == pytest.approx(counts)


def test_the_same_again_tells_less_each_time() -> None:
    gains = [gained(belief(5, [(2, 2, OTHER)] * count))[1][2] for count in (0, 2, 8)]
    assert gains[0] > gains[1] > gains[2]


def test_those_that_are_alike_leave_more_doubt(request: pytest.FixtureRequest) -> None:
    doubt = entropy(posterior(5, [(2, 2, OTHER)] * 8))
    request.getfixturevalue("independent")
    assert entropy(posterior(5, [(2, 2, OTHER)] * 8)) < doubt


def more_likely(known: Belief, prefix: int, how: int) -> float:
    """The chance of an end, by the ratio of what is known with it to what is known without it."""
    before = evidence(known)
    known.see(Observation(prefix, prefix, how))
    return float(np.exp(evidence(known) - before))


def entropy(chance: np.ndarray) -> float:
    kept = chance[chance > 0]
    return float(-(kept * np.log(kept)).sum())


def test_weights_are_learned_from_what_traces_show() -> None:
    start = told(default())
    faithful = [belief(6, [(4, 4, SAME)] * 6) for _ in range(60)]
    assert told(fitted(faithful))["faithful"]["0.985"] > start["faithful"]["0.985"] + 0.05
    reliable = [belief(6, [(0, 0, RIGHT)] * 12) for _ in range(60)]
    assert told(fitted(reliable))["reliability"]["0.98"] > start["reliability"]["0.98"] + 0.03
    at_last = [belief(6, [(5, 5, RIGHT)] * 4) for _ in range(60)]
    assert told(fitted(at_last))["ending"]["1"] > start["ending"]["1"] + 0.1 > told(fitted(faithful))["ending"]["1"]
    assert told(fitted([])) == start


@cache
def learned(steps: int) -> Weights:
    signs = signs_of(steps, [said("c" * (steps - 1) + "i")])
    return fitted([Belief(signs, right=False, verbatim=0.5) for _ in range(steps)], methods=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(observations(), st.booleans(), st.integers(1, 3)), min_size=1, max_size=30), st.integers(1, 40))
def test_a_trace_is_weighed_to_the_last_bit_the_same_alone_and_with_others(
    cases: list[tuple[tuple[int, list[tuple[int, int, int]]], bool, int]], together: int
) -> None:
    """Each with its own length and signs, and by weights of its own."""
    beliefs, weights = list[Belief](), [learned(lesson) for _, _, lesson in cases]
    for (steps, seen), right, _ in cases:
        beliefs.append(
            Belief(signs_of(steps, [said("i" * len(seen[:steps]) + "c" * (steps - len(seen[:steps])))]), right=right, verbatim=0.5)
        )
        for one in seen:
            beliefs[-1].see(Observation(*one))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_first_error, "TOGETHER", together)
        at_once = weighed(beliefs, weights)
    for known, by, (chance, gains) in zip(beliefs, weights, at_once, strict=True):
        alone = gained(known, by)
        assert chance.tolist() == alone[0].tolist()
        assert gains.tolist() == alone[1].tolist()


def test_what_is_remembered_is_no_more_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_first_error, "REMEMBERED", 10)
    monkeypatch.setattr(_first_error, "_REMEMBERED", {})
    known = [posterior(3, [(1, 1, RIGHT)] * count) for count in range(20)]
    assert len(_first_error._REMEMBERED) <= 10 + 3
    assert posterior(3, [(1, 1, RIGHT)] * 4) == pytest.approx(known[4])


def test_the_same_is_learned_in_however_many_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [(steps, [(steps // 2, steps // 2, how)] * count) for steps in (1, 2, 5) for how in ENDS for count in (0, 1, 3)]
    at_once = fitted(belief(*one, right=right) for one in seen for right in (False, True))
    monkeypatch.setattr(_first_error, "TOGETHER", 5)
    in_turn = fitted(belief(*one, right=right) for one in seen for right in (False, True))
    for name in ("before", "ending", "after"):
        assert getattr(in_turn, name) == pytest.approx(getattr(at_once, name))
        assert getattr(in_turn, name).sum() == pytest.approx(1)


def said(verdicts: str) -> Annotation:
    of = {"c": Verdict.CORRECT, "i": Verdict.INCORRECT, "u": Verdict.UNKNOWN}
    return Annotation(trace_id="t", method="m", first_error=None, steps=tuple(StepAnnotation(verdict=of[one]) for one in verdicts))


def test_signs_are_likelihoods_of_every_first_error() -> None:
    rates = normal(prior(2))
    signs = signs_of(3, [said("cci"), None])
    assert signs[1, -1] == SILENT
    found = met(signs) @ rates.ravel()
    for error in range(4):
        states = [0 if index < error else 1 if index == error else 2 for index in range(3)]
        heard = [(source, index, state) for source in range(2) for index, state in enumerate(states) if signs[source, index] != SILENT]
        by_hand = sum(rates[state, signs[source, index]] for source, index, state in heard)
        assert found[error] == pytest.approx(by_hand)
    assert found.argmax() == 2


def test_silence_about_the_last_step_says_nothing() -> None:
    signs = signs_of(4, [said("cccu")])
    assert signs[0, -1] == SILENT != signs_of(4, [said("cccc")])[0, -1]
    # Never decided, it would be learned to be a sign of what comes after errors, and move them.
    rates = fitted([Belief(signs, right=False, verbatim=NEVER_VERBATIM) for _ in range(40)], methods=1).signs
    decided = signs_of(3, [said("ccc")])
    assert (met(signs) @ rates.ravel())[:3] == pytest.approx((met(decided) @ rates.ravel())[:3])


def test_a_method_that_is_always_right_is_learned_to_be() -> None:
    beliefs = list[Belief]()
    for error in (0, 1, 2, 3):
        for _ in range(40):
            one = Belief(signs_of(5, [said("c" * error + "i" + "u" * (4 - error))]), right=False, verbatim=NEVER_VERBATIM)
            for seen in [(error, error, RIGHT)] * 2 + [(error + 1, error + 1, SAME)] * 2:
                one.see(Observation(*seen))
            beliefs.append(one)
    weights = fitted(beliefs, methods=1)
    rates = told(weights, ["m"])["signs"]["m"]
    assert sum(rates["at"]["incorrect"]) > 0.7 > sum(told(default(1), ["m"])["signs"]["m"]["at"]["incorrect"])
    assert sum(sum(each) for each in rates["before"].values()) == pytest.approx(1, abs=1e-3)
    unseen = Belief(signs_of(5, [said("cciuu")]), right=False, verbatim=NEVER_VERBATIM)
    assert gained(unseen, weights)[0][2] > 0.95 > 0.7 > gained(unseen, default(1))[0][2]
