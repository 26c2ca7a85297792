"""Consensus: which traces are kept, which are dropped, and the reasons."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from annotators.labelers.consensus import Consensus
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, StepAnnotation, StepLabel, Verdict
from tests.annotators.simulated import C, I, U, trace_of
from tests.columns import column

TRACE = replace(trace_of(4, 2), outcome=U)
MAJORITY = Consensus(rule="majority")
SINGLE = Consensus(rule="majority", min_agreeing=1, formal_veto=False, trust="verdicts")
NO_VETO = Consensus(formal_veto=False)
THREE_AGREEING = Consensus(rule="majority", min_agreeing=3)
RENAMED = Consensus(judge="other_judge", monte_carlo=("binary_search",))
NAMES = {
    "mc": "monte_carlo",
    "bs": "binary_search",
    "j": "judge",
    "f": "formal",
    "k": "other_judge",
}


def annotate(
    first_error: int | None, value: float | None = None, correct_steps: int | None = None
) -> Annotation:
    """Return an annotation that calls `correct_steps` correct, by default all before the error."""
    if correct_steps is None:
        correct_steps = 4 if first_error == NO_ERROR else first_error or 0
    steps = list[StepAnnotation]()
    for index in range(4):
        verdict = U
        if index < correct_steps:
            verdict = C
        elif index == first_error:
            verdict = I
        steps.append(StepAnnotation(verdict=verdict, value=value))
    return Annotation(
        trace_id=TRACE.trace_id, method="", first_error=first_error, steps=tuple(steps)
    )


def annotations(**first_errors: int | None) -> Mapping[str, Annotation]:
    """Return annotations by method, from first errors by the abbreviations in `NAMES`."""
    result: dict[str, Annotation] = {}
    for name, first_error in first_errors.items():
        result[NAMES[name]] = annotate(first_error)
    return result


@pytest.mark.parametrize(
    ("rule", "reports", "first_error", "confidence", "agreeing"),
    [
        # Rule mc_and_judge.
        (Consensus(), {"mc": 2, "j": 2}, 2, 1.0, "monte_carlo, judge"),
        (Consensus(), {"mc": -1, "j": -1}, NO_ERROR, 1.0, "monte_carlo, judge"),
        # 2 of 3 votes.
        (Consensus(), {"mc": 0, "j": 0, "bs": 1}, 0, 2 / 3, "monte_carlo, judge"),
        (Consensus(), {"mc": None, "bs": 3, "j": 3}, 3, 1.0, "binary_search, judge"),
        # 2 of 4 votes; the two configured methods decide.
        (RENAMED, {"bs": 1, "k": 1, "j": 0, "mc": 0}, 1, 0.5, "binary_search, other_judge"),
        # No veto.
        (Consensus(), {"mc": 2, "j": 2, "f": 2}, 2, 1.0, "monte_carlo, judge"),
        # A prover may miss an earlier error.
        (Consensus(), {"mc": 2, "j": 2, "f": 3}, 2, 2 / 3, "monte_carlo, judge"),
        (Consensus(), {"mc": 2, "j": 2, "f": None}, 2, 1.0, "monte_carlo, judge"),
        (Consensus(), {"mc": -1, "j": -1, "f": -1}, NO_ERROR, 1.0, "monte_carlo, judge"),
        (MAJORITY, {"mc": -1, "f": -1, "j": 1}, NO_ERROR, 2 / 3, "monte_carlo, formal"),
        (SINGLE, {"f": -1}, NO_ERROR, 1.0, "formal"),
        (NO_VETO, {"mc": 2, "j": 2, "f": 1}, 2, 2 / 3, "monte_carlo, judge"),
        (Consensus(formal=()), {"mc": 2, "j": 2, "f": 1}, 2, 2 / 3, "monte_carlo, judge"),
        # Rule majority.
        (MAJORITY, {"mc": 2, "j": 2}, 2, 1.0, "monte_carlo, judge"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1}, 2, 2 / 3, "monte_carlo, binary_search"),
        # Abstentions are no votes.
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": None}, 2, 2 / 3, "monte_carlo, binary_search"),
        (MAJORITY, {"j": 1, "f": 1}, 1, 1.0, "judge, formal"),
        # 2 of 4 votes.
        (MAJORITY, {"mc": 2, "j": 2, "f": 3, "bs": 1}, 2, 0.5, "monte_carlo, judge"),
        (Consensus(rule="majority", min_agreeing=1), {"j": 1, "f": 3}, 1, 0.5, "judge"),
        (SINGLE, {"f": 1}, 1, 1.0, "formal"),
    ],
)
def test_agreement_is_kept(
    rule: Consensus,
    reports: dict[str, int | None],
    first_error: int,
    confidence: float,
    agreeing: str,
) -> None:
    label = rule.label(TRACE, annotations(**reports))
    assert (label.first_error, label.kept) == (first_error, True)
    assert label.reason == f"agreement: {agreeing}"
    assert label.confidence == confidence
    assert label.trace_id == TRACE.trace_id


MC_OR_JUDGE = "disagreement: monte_carlo 1, judge 2"
TIED = "disagreement: monte_carlo 2, binary_search 2, judge 1, other_judge"
STEP_1_IS_FALSE = "veto: formal shows step 1 to be false"


@pytest.mark.parametrize(
    ("rule", "reports", "reason"),
    [
        # Rule mc_and_judge.
        # Binary search agrees, but Monte Carlo precedes it.
        (Consensus(), {"mc": 1, "bs": 2, "j": 2}, MC_OR_JUDGE),
        (Consensus(), {"mc": 2, "j": -1}, "disagreement: monte_carlo 2, judge -1"),
        (Consensus(), {"mc": 2, "j": None}, "undecided: judge"),
        (Consensus(), {"mc": None, "bs": None, "j": 2}, "undecided: monte carlo"),
        (Consensus(), {"mc": None, "j": None}, "undecided: monte carlo and judge"),
        (Consensus(), {}, "undecided: monte carlo and judge"),
        # The disagreement precedes the veto.
        (Consensus(), {"mc": 1, "j": 2, "f": 0}, MC_OR_JUDGE),
        # Veto.
        # The prover's error is before the agreed one.
        (Consensus(), {"mc": 2, "j": 2, "f": 1}, STEP_1_IS_FALSE),
        # Agreement on no error, which the prover refutes.
        (Consensus(), {"mc": -1, "j": -1, "f": 3}, "veto: formal shows step 3 to be false"),
        # Agreement on an error, which the prover refutes.
        (Consensus(), {"mc": 2, "j": 2, "f": -1}, "veto: formal proves every step"),
        (MAJORITY, {"mc": 2, "j": 2, "f": 1}, STEP_1_IS_FALSE),
        # Rule majority.
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": 1}, f"{TIED} 1"),
        (MAJORITY, {"mc": 2, "bs": 2, "j": 1, "k": 0}, f"{TIED} 0"),
        (MAJORITY, {"mc": 2, "j": None}, "disagreement: monte_carlo 2"),
        (MAJORITY, {"mc": None, "j": None}, "undecided: every method"),
        # Two methods agree, but the rule needs three.
        (THREE_AGREEING, {"mc": 2, "bs": 2}, "disagreement: monte_carlo 2, binary_search 2"),
    ],
)
def test_other_traces_are_dropped(
    rule: Consensus, reports: dict[str, int | None], reason: str
) -> None:
    label = rule.label(TRACE, annotations(**reports))
    assert (label.first_error, label.kept, label.confidence) == (None, False, None)
    assert label.reason == reason
    assert label.trace_id == TRACE.trace_id


@pytest.mark.parametrize("rule", [Consensus(), MAJORITY])
def test_wrong_answer_vetoes_no_error(rule: Consensus) -> None:
    label = rule.label(replace(TRACE, outcome=I), annotations(mc=NO_ERROR, j=NO_ERROR))
    assert (label.kept, label.reason) == (False, "veto: the final answer is wrong")


@pytest.mark.parametrize(
    ("first_error", "labels"),
    [(NO_ERROR, [C, C, C, C]), (0, [I, U, U, U]), (2, [C, C, I, U]), (3, [C, C, C, I])],
)
def test_steps_after_error_are_unknown(first_error: int, labels: list[Verdict]) -> None:
    label = Consensus().label(TRACE, annotations(mc=first_error, j=first_error))
    assert column(label.steps, "label") == labels


@pytest.mark.parametrize(
    ("rule", "reports", "labels"),
    [
        (SINGLE, {"formal": annotate(2)}, [U, U, I, U]),
        (SINGLE, {"judge": annotate(2, correct_steps=1)}, [C, U, I, U]),
        (MAJORITY, {"formal": annotate(2), "judge": annotate(2, correct_steps=1)}, [C, U, I, U]),
        (
            MAJORITY,
            {
                "binary_search": annotate(3, correct_steps=3),
                "judge": annotate(3, correct_steps=0),
                "monte_carlo": annotate(1),
            },
            [C, C, C, I],
        ),
        (
            Consensus(),
            {
                "monte_carlo": annotate(2, correct_steps=1),
                "judge": annotate(2, correct_steps=0),
                "formal": annotate(None, correct_steps=4),
            },
            [C, U, I, U],
        ),
    ],
)
def test_correct_steps_need_confirming_source(
    rule: Consensus, reports: dict[str, Annotation], labels: list[Verdict]
) -> None:
    assert column(rule.label(TRACE, reports).steps, "label") == labels


def test_formal_alone_gives_no_label() -> None:
    rule = replace(SINGLE, trust="agreement")
    label = rule.label(TRACE, annotations(f=1))
    assert not label.kept
    assert label.reason.startswith("formal alone: ")
    # Another method that agrees, or a proof of all steps, is enough.
    assert rule.label(TRACE, annotations(f=1, j=1)).kept
    assert rule.label(TRACE, annotations(f=NO_ERROR)).kept
    assert SINGLE.label(TRACE, annotations(f=1)).kept


def test_dropped_trace_lists_its_sources() -> None:
    label = Consensus().label(TRACE, annotations(mc=1, j=2))
    assert label.steps == (StepLabel(),) * 4
    assert label.sources == ("monte_carlo", "judge")


@pytest.mark.parametrize(
    ("reports", "sources"),
    [
        ({"mc": 2, "j": 2, "bs": 1}, ("monte_carlo", "judge")),
        ({"bs": 2, "j": 2, "mc": None}, ("binary_search", "judge")),
    ],
)
def test_sources_are_the_agreeing_methods(
    reports: dict[str, int | None], sources: tuple[str, ...]
) -> None:
    for rule in (Consensus(), MAJORITY):
        assert set(rule.label(TRACE, annotations(**reports)).sources) == set(sources)


@pytest.mark.parametrize(
    ("monte_carlo", "binary_search", "value"),
    [
        (annotate(2, 0.5), annotate(2, 0.25), 0.5),
        # An abstaining method gives no values.
        (annotate(None, 0.5), annotate(2, 0.25), 0.25),
        (annotate(2, 0.5), None, 0.5),
        (None, annotate(2, 0.25), 0.25),
        # The first deciding method has no values, and the second does not replace them.
        (annotate(2), annotate(2, 0.25), None),
    ],
)
def test_values_come_from_monte_carlo(
    monte_carlo: Annotation | None, binary_search: Annotation | None, value: float | None
) -> None:
    # The judge's value of 1.0 must not be in the label.
    reports = {"judge": annotate(2, 1.0)}
    if monte_carlo:
        reports["monte_carlo"] = monte_carlo
    if binary_search:
        reports["binary_search"] = binary_search
    label = Consensus().label(TRACE, reports)
    assert {step.value for step in label.steps} == {value}
    assert label.kept


def test_labels_without_monte_carlo_lack_values() -> None:
    label = MAJORITY.label(TRACE, annotations(j=2, k=2))
    assert column(label.steps, "label", "value") == [
        (C, None),
        (C, None),
        (I, None),
        (U, None),
    ]


@pytest.mark.parametrize(
    ("fields", "methods", "message"),
    [
        (
            {},
            [],
            "needs the annotators 'judge' and one of"
            " monte_carlo, binary_search, tree_search, adaptive_search; the run has: none",
        ),
        ({}, ["judge", "formal"], "the run has: judge, formal"),
        ({}, ["monte_carlo", "binary_search"], "the run has: monte_carlo, binary_search"),
        ({"judge": "other"}, ["judge", "monte_carlo"], "needs the annotators 'other'"),
        (
            {"rule": "majority"},
            ["judge"],
            "needs 2 annotators that agree (min_agreeing); the run has: judge",
        ),
        ({"rule": "majority"}, [], "the run has: none"),
    ],
)
def test_insufficient_methods_are_rejected(
    fields: dict[str, Any], methods: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        Consensus(**fields).check(methods)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "methods"),
    [
        (Consensus(), ["judge", "binary_search"]),
        (MAJORITY, ["judge", "formal"]),
        (SINGLE, ["formal"]),
    ],
)
def test_sufficient_methods_keep_traces(rule: Consensus, methods: list[str]) -> None:
    rule.check(methods)
    reports = dict.fromkeys(methods, annotate(1))
    assert rule.label(TRACE, reports).kept


def test_proof_confirms_every_step() -> None:
    steps = SINGLE.label(TRACE, annotations(f=NO_ERROR)).steps
    assert column(steps, "label") == [C] * 4
