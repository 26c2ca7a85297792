"""Fusion: posteriors from reports and error rates, and rates that EM estimates without gold."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pytest

from annotators.base import AnnotatedTrace, FittableLabeler
from annotators.label_fusion import em
from annotators.label_fusion.em import LatentStates
from annotators.label_fusion.model import (
    CONFIDENCE_LEVELS,
    Report,
    ResponseRates,
    TracePattern,
    responses_of,
)
from annotators.labelers.fusion import Fusion
from pipelines.scoring.metrics import Case as ScoredCase
from pipelines.scoring.metrics import score
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, StepAnnotation, Trace
from tests.annotators.simulated import C, I, U, trace_of
from tests.columns import column

STEPS = 5
TRACE = replace(trace_of(STEPS, 2), outcome=U)


def annotate(trace: Trace, first_error: int | None, *, value: float | None = None) -> Annotation:
    """Return an annotation with `value` before the first error and 0 from there on."""
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        step_value = value
        if value is not None and first_error not in (None, NO_ERROR) and index >= first_error:
            step_value = 0.0
        steps.append(StepAnnotation(value=step_value))
    return Annotation(
        trace_id=trace.trace_id, method="", first_error=first_error, steps=tuple(steps)
    )


def annotate_all(trace: Trace, first_errors: Mapping[str, int | None]) -> Mapping[str, Annotation]:
    """Return the annotations of several methods, by method."""
    annotations: dict[str, Annotation] = {}
    for method, first_error in first_errors.items():
        annotations[method] = annotate(trace, first_error)
    return annotations


def label(first_errors: Mapping[str, int | None], **fields: object) -> Label:
    """Label the trace by these first errors, at the prior rates."""
    fusion = Fusion(**fields)  # type: ignore[arg-type]
    return fusion.fit([]).label(TRACE, annotate_all(TRACE, first_errors))


class SimulatedSources:
    """Traces with known first errors, and sources that err independently at known rates."""

    RATES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "monte_carlo": (0.75, 0.9),
        "judge": (0.6, 0.8),
        "formal": (0.4, 1.0),
    }
    """How often a source names the right step, and how often it recognizes a sound trace."""

    def __init__(self, seed: int, traces: int) -> None:
        self.random = random.Random(seed)
        self.first_errors: dict[str, int] = {}
        self.cases = list[AnnotatedTrace]()
        for number in range(traces):
            self.cases.append(self._case(f"t{number}"))

    def with_gold(self, share: float) -> Sequence[AnnotatedTrace]:
        """Return the cases, the first of them with the true first error as human annotation."""
        count = int(share * len(self.cases))
        cases = list[AnnotatedTrace]()
        for trace, annotations in self.cases[:count]:
            gold = annotate(trace, self.first_errors[trace.trace_id])
            cases.append((trace, {**annotations, "human": gold}))
        return cases + self.cases[count:]

    def _case(self, name: str) -> AnnotatedTrace:
        steps = self.random.randint(2, 8)
        first_error = NO_ERROR
        # Half of the traces are sound.
        if self.random.random() >= 0.5:
            first_error = self.random.randrange(steps)
        outcome = I
        # One in ten wrong traces has the right answer nevertheless.
        if first_error == NO_ERROR or self.random.random() < 0.1:
            outcome = C
        trace = replace(trace_of(steps, first_error), trace_id=name, outcome=outcome)
        self.first_errors[name] = first_error
        reports: dict[str, int | None] = {}
        for method, (exact_rate, sound_rate) in self.RATES.items():
            reports[method] = self._report(first_error, steps, exact_rate, sound_rate)
        return trace, annotate_all(trace, reports)

    def _report(
        self, first_error: int, steps: int, exact_rate: float, sound_rate: float
    ) -> int | None:
        # Each source abstains on one in ten traces.
        if self.random.random() > 0.9:
            return None
        if first_error == NO_ERROR:
            if self.random.random() < sound_rate:
                return NO_ERROR
            return self.random.randrange(steps)
        if self.random.random() < exact_rate:
            return first_error
        wrong = [error for error in range(NO_ERROR, steps) if error != first_error]
        return self.random.choice(wrong)


def score_labels(sources: SimulatedSources, labels: Sequence[Label]) -> list[ScoredCase]:
    """Pair labels with the true first errors."""
    cases = list[ScoredCase]()
    for trace_label in labels:
        case = ScoredCase(
            gold=sources.first_errors[trace_label.trace_id],
            predicted=trace_label.first_error,
            stated_error=trace_label.first_error,
            confidence=trace_label.confidence,
        )
        cases.append(case)
    return cases


def score_method(sources: SimulatedSources, method: str) -> list[ScoredCase]:
    """Pair one method's reports with the true first errors."""
    cases = list[ScoredCase]()
    for trace, annotations in sources.cases:
        gold = sources.first_errors[trace.trace_id]
        cases.append(ScoredCase(gold=gold, predicted=annotations[method].first_error))
    return cases


@pytest.mark.parametrize("gold_share", [0.0, 0.3, 1.0])
def test_fusion_is_calibrated_and_most_accurate(gold_share: float) -> None:
    sources = SimulatedSources(1, 2000)
    gold = "human" if gold_share else ""
    # In this simulation, sources are independent and none is a prover.
    fusion = Fusion(gold=gold, provers=(), power=1)
    labeler = fusion.fit(sources.with_gold(gold_share))
    labels = [labeler.label(trace, annotations) for trace, annotations in sources.cases]
    fused = score(score_labels(sources, labels))
    assert fused.calibration_error is not None
    assert fused.calibration_error < 0.04
    assert fused.exact is not None
    for method in SimulatedSources.RATES:
        assert fused.exact > (score(score_method(sources, method)).exact or 0)


def test_labels_ignore_gold() -> None:
    sources = SimulatedSources(2, 300)
    labeler = Fusion(gold="human").fit(sources.with_gold(1.0))
    for trace, annotations in sources.cases[:50]:
        with_wrong_gold = {**annotations, "human": annotate(trace, 0)}
        assert labeler.label(trace, with_wrong_gold) == labeler.label(trace, annotations)


@pytest.mark.parametrize(("neutral", "gold"), [("correct", 2), ("incorrect", 1), ("unknown", None)])
def test_neutral_gold_is_mapped(
    neutral: Literal["correct", "incorrect", "unknown"], gold: int | None
) -> None:
    steps = tuple(StepAnnotation(verdict=verdict) for verdict in (C, C, I, U, U))
    human = replace(annotate(TRACE, 2), steps=steps, neutral_steps=(1,))
    pattern = Fusion(gold="human", neutral=neutral).pattern(TRACE, {"human": human})
    assert pattern.gold == gold


@pytest.mark.parametrize("index", [5, -1])
def test_damaged_gold_decides_nothing(index: int) -> None:
    human = replace(annotate(TRACE, 2), neutral_steps=(index,))
    assert Fusion(gold="human").pattern(TRACE, {"human": human}).gold is None


def test_unreliable_source_counts_less() -> None:
    """If two sources disagree, the one that others usually confirm prevails."""
    sources = SimulatedSources(3, 2000)
    labeler = Fusion().fit(sources.cases)
    result = labeler.label(TRACE, annotate_all(TRACE, {"monte_carlo": 1, "judge": 3}))
    # Monte Carlo is right more often than the judge (`RATES`).
    assert (result.first_error, result.kept) == (1, False)


def test_fit_is_deterministic() -> None:
    sources = SimulatedSources(4, 200)
    first = Fusion().fit(sources.cases)
    second = Fusion().fit(sources.cases)
    for trace, annotations in sources.cases:
        assert first.label(trace, annotations) == second.label(trace, annotations)


def test_step_value_is_soundness_probability() -> None:
    result = label({"monte_carlo": 2, "judge": 2})
    values = list[float]()
    for step in result.steps:
        assert step.value is not None
        values.append(step.value)
    assert all(value >= next_value for value, next_value in pairwise(values))
    # Step 2 is sound less often than step 1 by the chance that it is the first error.
    assert values[1] - values[2] == pytest.approx(result.confidence)


def test_kept_label_ends_at_first_error() -> None:
    result = label({"monte_carlo": 2, "judge": 2}, threshold=0.5)
    assert (result.kept, result.first_error) == (True, 2)
    assert result.sources == ("monte_carlo", "judge")
    assert column(result.steps, "label") == [C, C, I, U, U]


def test_dropped_label_keeps_its_values() -> None:
    result = label({"monte_carlo": 2, "judge": 0}, threshold=0.99)
    assert not result.kept
    assert result.reason.endswith(", below 0.99")
    assert {step.label for step in result.steps} == {U}
    assert all(step.value is not None for step in result.steps)


def test_undecided_trace_has_no_posterior() -> None:
    result = label({"monte_carlo": None, "judge": None})
    assert (result.first_error, result.confidence, result.kept) == (None, None, False)
    assert result.reason == "undecided: every source"
    assert {step.value for step in result.steps} == {None}


def test_wrong_answer_implies_an_error() -> None:
    wrong = replace(TRACE, outcome=I)
    reports = dict.fromkeys(("monte_carlo", "judge", "formal"), NO_ERROR)
    result = Fusion(threshold=0.01).fit([]).label(wrong, annotate_all(wrong, reports))
    assert result.first_error != NO_ERROR


def test_provers_are_late_but_never_early() -> None:
    # The prover missed the error in step 1.
    late = label({"monte_carlo": 1, "formal": 3}, provers=("formal",))
    assert late.first_error == 1
    # A prover is never early, so its earlier report prevails.
    early = label({"monte_carlo": 3, "formal": 1}, provers=("formal",))
    assert early.first_error == 1
    without_provers = label({"monte_carlo": 3, "formal": 1}, provers=())
    assert (early.steps[1].value or 0) < (without_provers.steps[1].value or 0)


def test_power_flattens_the_posterior() -> None:
    reports = {"monte_carlo": 2, "judge": 2}
    flattened = label(reports, power=0.5).confidence
    unchanged = label(reports, power=1).confidence
    assert (flattened or 0) < (unchanged or 0)


def test_first_deciding_method_represents_group() -> None:
    expected = label({"monte_carlo": 1, "judge": 1}).confidence
    # The second method of the Monte Carlo group represents it.
    abstaining = {"monte_carlo": None, "binary_search": 1, "judge": 1}
    assert label(abstaining).confidence == expected
    # The first method of the group decides, so the second one is ignored.
    contradicted = {"monte_carlo": 1, "binary_search": 3, "judge": 1}
    assert label(contradicted).confidence == expected


def test_confidence_level_follows_value_drop() -> None:
    annotations = {
        "monte_carlo": annotate(TRACE, 2, value=0.3),
        "judge": annotate(TRACE, 2),
        "formal": annotate(TRACE, NO_ERROR, value=0.6),
    }
    expected = (Report(2, 1), Report(2, 3), Report(NO_ERROR, 2))
    assert Fusion().pattern(TRACE, annotations).reports == expected


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("first_error", [NO_ERROR, 0, 1, 4])
def test_report_probabilities_sum_to_one(steps: int, first_error: int) -> None:
    if first_error >= steps:
        return
    rates = ResponseRates({})
    reports = list[Report | None]([None])
    for reported in range(NO_ERROR, steps):
        for level in range(CONFIDENCE_LEVELS):
            reports.append(Report(reported, level))
    total = 0.0
    for report in reports:
        pattern = TracePattern(steps, U, (report,))
        # The first response is the prior of the first error.
        _, *chain = responses_of(pattern, first_error)
        probability = 1.0
        for response in chain:
            probability *= rates.share(response) / response.choices
        total += probability
    assert total == pytest.approx(1.0)


def test_em_never_lowers_the_objective() -> None:
    """No EM iteration decreases the log-likelihood plus the log-prior."""
    fusion = Fusion()
    patterns = dict[TracePattern, int]()
    for trace, annotations in SimulatedSources(5, 200).cases:
        pattern = fusion.pattern(trace, annotations)
        patterns[pattern] = patterns.get(pattern, 0) + 1
    states = LatentStates.from_patterns(patterns)
    rates = em.m_step(states, np.zeros(len(states.parameters)))
    objectives = list[float]()
    for _ in range(20):
        log_prior = float((states.prior * np.log(rates)).sum())
        objectives.append(em.log_likelihood(states, rates) + log_prior)
        rates = em.m_step(states, em.e_step(states, rates))
    # EM changes the rates, so the next check is not vacuous.
    assert objectives[-1] > objectives[0] + 1
    # The tolerance is for rounding errors.
    assert (np.diff(objectives) > -1e-9).all()


@pytest.mark.parametrize("methods", [[], ["judge"], ["monte_carlo", "binary_search"], ["other"]])
def test_single_source_is_rejected(methods: list[str]) -> None:
    with pytest.raises(ConfigError, match="needs two of its sources"):
        Fusion().check(methods)


def test_two_sources_are_accepted() -> None:
    Fusion().check(["binary_search", "formal"])


def test_fusion_is_fitted_before_labelling() -> None:
    assert isinstance(Fusion(), FittableLabeler)


def suspect(trace: Trace, step: int | None) -> Annotation:
    """Return the annotation of a formal checker that decides nothing and may suspect a step."""
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        holding = 0 if index == step else 1
        steps.append(StepAnnotation(successes=holding, trials=1))
    return Annotation(
        trace_id=trace.trace_id,
        method="",
        first_error=None,
        steps=tuple(steps),
        claims_checked=len(steps),
        claims_holding=sum(step.successes for step in steps),
    )


def cases_with_suspicions(correct_share: float, traces: int = 400) -> Sequence[AnnotatedTrace]:
    """Return simulated cases in which a formal checker suspects one step of each wrong trace.

    With a share below 1, it also suspects as many steps of the other traces.
    """
    sources = SimulatedSources(7, traces)
    chance = random.Random(3)
    cases = list[AnnotatedTrace]()
    for trace, annotations in sources.cases:
        first_error = sources.first_errors[trace.trace_id]
        step: int | None = chance.randrange(len(trace.steps))
        if chance.random() < correct_share:
            step = None if first_error == NO_ERROR else first_error
        cases.append((trace, {**annotations, "formal": suspect(trace, step)}))
    return cases


def posterior_at(cases: Sequence[AnnotatedTrace], suspected: int | None, step: int) -> float:
    """Return the posterior that a step is the first error, if two other sources disagree."""
    labeler = Fusion().fit(cases)
    annotations = {**annotate_all(TRACE, {"monte_carlo": 1, "judge": 3})}
    annotations["formal"] = suspect(TRACE, suspected)
    values = [step.value for step in labeler.label(TRACE, annotations).steps]
    before = 1.0 if step == 0 else values[step - 1]
    assert before is not None
    value = values[step]
    assert value is not None
    return before - value


def test_reliable_suspicions_count() -> None:
    cases = cases_with_suspicions(1.0)
    assert posterior_at(cases, 3, 3) > posterior_at(cases, None, 3) + 0.2
    assert posterior_at(cases, 3, 3) > 0.7
    assert posterior_at(cases, 1, 1) > 0.7


def test_random_suspicions_hardly_count() -> None:
    cases = cases_with_suspicions(0.0)
    assert posterior_at(cases, 3, 3) == pytest.approx(posterior_at(cases, 1, 3), abs=0.15)


def test_suspicion_is_no_veto() -> None:
    annotations = {**annotate_all(TRACE, {"monte_carlo": 1, "judge": 1})}
    annotations["formal"] = suspect(TRACE, 3)
    label_of_trace = Fusion().fit(cases_with_suspicions(0.5)).label(TRACE, annotations)
    assert label_of_trace.first_error == 1


def test_suspicion_alone_decides_nothing() -> None:
    labeler = Fusion(trust="verdicts").fit(cases_with_suspicions(1.0))
    result = labeler.label(TRACE, {"formal": suspect(TRACE, 3)})
    assert result.reason == "undecided: every source"


def test_labels_without_suspicions_are_unchanged() -> None:
    """A formal checker that suspects nothing changes no rate and no posterior."""
    sources = SimulatedSources(7, 200)
    labels = list[Sequence[Label]]()
    for has_counts in (False, True):
        cases = list[AnnotatedTrace]()
        for trace, annotations in sources.cases:
            formal = annotations["formal"]
            if has_counts:
                formal = replace(formal, claims_checked=3, claims_holding=3)
            cases.append((trace, {**annotations, "formal": formal}))
        labeler = Fusion().fit(cases)
        labels.append([labeler.label(trace, annotations) for trace, annotations in cases])
    assert labels[0] == labels[1]


def test_suspicion_behind_verdict_is_left_out() -> None:
    annotation = suspect(TRACE, 3)
    steps = [*annotation.steps]
    steps[1] = replace(steps[1], verdict=I, successes=0)
    annotation = replace(annotation, first_error=1, steps=tuple(steps))
    assert Fusion().pattern(TRACE, {"formal": annotation}).suspicions == ((2, None),)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("first_error", [NO_ERROR, 0, 1, 4])
def test_suspicion_probabilities_sum_to_one(steps: int, first_error: int) -> None:
    if first_error >= steps:
        return
    rates = ResponseRates({})
    total = 0.0
    for suspected in (None, *range(steps)):
        pattern = TracePattern(steps, U, (), suspicions=((0, suspected),))
        _, *chain = responses_of(pattern, first_error)
        probability = 1.0
        for response in chain:
            probability *= rates.share(response) / response.choices
        total += probability
    assert total == pytest.approx(1.0)
