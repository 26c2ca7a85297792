"""Consensus: what is kept, what is dropped, and why."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from annotators.labelers.consensus import Consensus
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, StepAnnotation, StepLabel, Verdict
from tests.annotators.simulated import C, I, U, trace_of

TRACE = replace(trace_of(4, 2), outcome=U)
MAJORITY = Consensus(rule="majority")
ALONE = Consensus(rule="majority", min_agreeing=1, formal_veto=False)
NAMED = Consensus(judge="other_judge", monte_carlo=("binary_search",))
NAMES = {"mc": "monte_carlo", "bs": "binary_search", "j": "judge", "f": "formal", "k": "other_judge"}


def said(first_error: int | None, value: float | None = None, sound: int | None = None) -> Annotation:
    """An annotation that vouches for `sound` steps, by default for all before the first error."""
    before = (4 if first_error == NO_ERROR else first_error or 0) if sound is None else sound
    verdicts = [C if index < before else I if index == first_error else U for index in range(4)]
    steps = tuple(StepAnnotation(verdict=verdict, value=value) for verdict in verdicts)
    return Annotation(trace_id=TRACE.trace_id, method="", first_error=first_error, steps=steps)


def annotations(**first_errors: int | None) -> Mapping[str, Annotation]:
    return {NAMES[name]: said(first_error) for name, first_error in first_errors.items()}


@pytest.mark.parametrize(
    ("rule", "heard", "first_error", "confidence", "reason"),
    [
        # Monte Carlo and the judge
        (Consensus(), {"mc": 2, "j": 2}, 2, 1.0, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": -1, "j": -1}, NO_ERROR, 1.0, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": 0, "j": 0, "bs": 1}, 0, 2 / 3, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": None, "bs": 3, "j": 3}, 3, 1.0, "agreement: binary_search, judge"),
        (Consensus(), {"mc": 1, "bs": 2, "j": 2}, None, None, "disagreement: monte_carlo 1, judge 2"),
        (Consensus(), {"mc": 2, "j": -1}, None, None, "disagreement: monte_carlo 2, judge -1"),
        (Consensus(), {"mc": 2, "j": None}, None, None, "undecided: judge"),
        (Consensus(), {"mc": None, "bs": None, "j": 2}, None, None, "undecided: monte carlo"),
        (Consensus(), {"mc": None, "j": None}, None, None, "undecided: monte carlo and judge"),
        (Consensus(), {}, None, None, "undecided: monte carlo and judge"),
        (NAMED, {"bs": 1, "k": 1, "j": 0, "mc": 0}, 1, 0.5, "agreement: binary_search, other_judge"),
        # the veto
        (Consensus(), {"mc": 2, "j": 2, "f": 1}, None, None, "veto: formal shows step 1 to be false"),
        (Consensus(), {"mc": -1, "j": -1, "f": 3}, None, None, "veto: formal shows step 3 to be false"),
        (Consensus(), {"mc": 2, "j": 2, "f": 2}, 2, 1.0, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": 2, "j": 2, "f": 3}, 2, 2 / 3, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": 2, "j": 2, "f": None}, 2, 1.0, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": 2, "j": 2, "f": -1}, None, None, "veto: formal proves every step"),
        (Consensus(), {"mc": -1, "j": -1, "f": -1}, NO_ERROR, 1.0, "agreement: monte_carlo, judge"),
        (MAJORITY, {"mc": -1, "f": -1, "j": 1}, NO_ERROR, 2 / 3, "agreement: monte_carlo, formal"),
        (ALONE, {"f": -1}, NO_ERROR, 1.0, "agreement: formal"),
        (Consensus(formal_veto=False), {"mc": 2, "j": 2, "f": 1}, 2, 2 / 3, "agreement: monte_carlo, judge"),
        (Consensus(formal=()), {"mc": 2, "j": 2, "f": 1}, 2, 2 / 3, "agreement: monte_carlo, judge"),
        (Consensus(), {"mc": 1, "j": 2, "f": 0}, None, None, "disagreement: monte_carlo 1, judge 2"),
        # the majority
        (MAJORITY, {"mc": 2, "j": 2}, 2, 1.0, "agreement: monte_carlo, judge"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1}, 2, 2 / 3, "agreement: monte_carlo, binary_search"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": 1}, None, None, "disagreement: monte_carlo 2, binary_search 2, judge 1, other_judge 1"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": 0}, None, None, "disagreement: monte_carlo 2, binary_search 2, judge 1, other_judge 0"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": None}, 2, 2 / 3, "agreement: monte_carlo, binary_search"),
        (MAJORITY, {"mc": 2, "j": None}, None, None, "disagreement: monte_carlo 2"),
        (MAJORITY, {"mc": None, "j": None}, None, None, "undecided: every method"),
        (MAJORITY, {"mc": 2, "j": 2, "f": 1}, None, None, "veto: formal shows step 1 to be false"),
        (MAJORITY, {"j": 1, "f": 1}, 1, 1.0, "agreement: judge, formal"),
        (MAJORITY, {"mc": 2, "j": 2, "f": 3, "bs": 1}, 2, 0.5, "agreement: monte_carlo, judge"),
        (Consensus(rule="majority", min_agreeing=1), {"j": 1, "f": 3}, 1, 0.5, "agreement: judge"),
        (ALONE, {"f": 1}, 1, 1.0, "agreement: formal"),
        (Consensus(rule="majority", min_agreeing=3), {"mc": 2, "bs": 2}, None, None, "disagreement: monte_carlo 2, binary_search 2"),
    ],
)
def test_the_rules(rule: Consensus, heard: dict[str, int | None], first_error: int | None, confidence: float | None, reason: str) -> None:
    label = rule.label(TRACE, annotations(**heard))
    assert (label.first_error, label.kept, label.reason) == (first_error, first_error is not None, reason)
    assert label.confidence == confidence
    assert label.trace_id == TRACE.trace_id


@pytest.mark.parametrize("rule", [Consensus(), MAJORITY])
def test_a_trace_that_ends_wrong_is_never_free_of_errors(rule: Consensus) -> None:
    label = rule.label(replace(TRACE, outcome=I), annotations(mc=NO_ERROR, j=NO_ERROR))
    assert (label.kept, label.reason) == (False, "veto: the final answer is wrong")


@pytest.mark.parametrize(
    ("first_error", "labels"),
    [(NO_ERROR, [C, C, C, C]), (0, [I, U, U, U]), (2, [C, C, I, U]), (3, [C, C, C, I])],
)
def test_what_comes_after_the_first_error_trains_nothing(first_error: int, labels: list[Verdict]) -> None:
    label = Consensus().label(TRACE, annotations(mc=first_error, j=first_error))
    assert [step.label for step in label.steps] == labels


@pytest.mark.parametrize(
    ("rule", "heard", "labels"),
    [
        (ALONE, {"formal": said(2)}, [U, U, I, U]),
        (ALONE, {"judge": said(2, sound=1)}, [C, U, I, U]),
        (MAJORITY, {"formal": said(2), "judge": said(2, sound=1)}, [C, U, I, U]),
        (MAJORITY, {"binary_search": said(3, sound=3), "judge": said(3, sound=0), "monte_carlo": said(1)}, [C, C, C, I]),
        (Consensus(), {"monte_carlo": said(2, sound=1), "judge": said(2, sound=0), "formal": said(None, sound=4)}, [C, U, I, U]),
    ],
)
def test_a_step_is_correct_where_an_agreeing_method_vouches_for_more_than_its_form(
    rule: Consensus, heard: dict[str, Annotation], labels: list[Verdict]
) -> None:
    assert [step.label for step in rule.label(TRACE, heard).steps] == labels


def test_a_dropped_trace_trains_nothing_and_names_who_spoke() -> None:
    label = Consensus().label(TRACE, annotations(mc=1, j=2))
    assert label.steps == (StepLabel(),) * 4
    assert label.sources == ("monte_carlo", "judge")


@pytest.mark.parametrize(
    ("heard", "sources"),
    [({"mc": 2, "j": 2, "bs": 1}, ("monte_carlo", "judge")), ({"bs": 2, "j": 2, "mc": None}, ("binary_search", "judge"))],
)
def test_a_label_rests_on_those_that_agree(heard: dict[str, int | None], sources: tuple[str, ...]) -> None:
    for rule in (Consensus(), MAJORITY):
        assert set(rule.label(TRACE, annotations(**heard)).sources) == set(sources)


@pytest.mark.parametrize(
    ("monte_carlo", "binary_search", "value"),
    [
        (said(2, 0.5), said(2, 0.25), 0.5),
        (said(None, 0.5), said(2, 0.25), 0.25),
        (said(2, 0.5), None, 0.5),
        (None, said(2, 0.25), 0.25),
        (said(2), said(2, 0.25), None),
    ],
)
def test_the_values_are_those_of_the_method_that_speaks_for_monte_carlo(
    monte_carlo: Annotation | None, binary_search: Annotation | None, value: float | None
) -> None:
    heard = {"monte_carlo": monte_carlo, "binary_search": binary_search, "judge": said(2, 1.0)}
    label = Consensus().label(TRACE, {name: annotation for name, annotation in heard.items() if annotation})
    assert {step.value for step in label.steps} == {value}
    assert label.kept


def test_without_monte_carlo_there_are_labels_and_no_values() -> None:
    label = MAJORITY.label(TRACE, annotations(j=2, k=2))
    assert [(step.label, step.value) for step in label.steps] == [(C, None), (C, None), (I, None), (U, None)]


@pytest.mark.parametrize(
    ("fields", "methods", "message"),
    [
        ({}, [], "needs the annotators 'judge' and one of monte_carlo, binary_search, tree_search, adaptive_search; the run has: none"),
        ({}, ["judge", "formal"], "the run has: judge, formal"),
        ({}, ["monte_carlo", "binary_search"], "the run has: monte_carlo, binary_search"),
        ({"judge": "other"}, ["judge", "monte_carlo"], "needs the annotators 'other'"),
        ({"rule": "majority"}, ["judge"], "needs 2 annotators that agree (min_agreeing); the run has: judge"),
        ({"rule": "majority"}, [], "the run has: none"),
    ],
)
def test_a_run_that_could_never_give_a_label_is_refused(fields: dict[str, Any], methods: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Consensus(**fields).check(methods)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("rule", "methods"),
    [(Consensus(), ["judge", "binary_search"]), (MAJORITY, ["judge", "formal"]), (ALONE, ["formal"])],
)
def test_a_run_that_can_give_labels_is_not(rule: Consensus, methods: list[str]) -> None:
    rule.check(methods)
    heard = {name: said(1) for name in methods}
    assert rule.label(TRACE, heard).kept


def test_a_proof_vouches_for_every_step() -> None:
    steps = ALONE.label(TRACE, annotations(f=NO_ERROR)).steps
    assert [step.label for step in steps] == [C] * 4
