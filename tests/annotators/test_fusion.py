"""Fusion: posteriors follow what sources say and how often they are right, and what is learned without gold is near the truth."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import pytest

from annotators.base import AnnotatedTrace, FittableLabeler
from annotators.labelers.fusion import Fusion, Pattern, Saying, answers, estimated
from pipelines.scoring.metrics import Case as Scored
from pipelines.scoring.metrics import score
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, StepAnnotation, Trace
from tests.annotators.simulated import C, I, U, trace_of

STEPS = 5
TRACE = replace(trace_of(STEPS, 2), outcome=U)


def said(trace: Trace, first_error: int | None, *, value: float | None = None) -> Annotation:
    """Of a method that names a step, with `value` for the steps before it and 0 from there on."""
    last = len(trace.steps) if first_error in (None, NO_ERROR) else first_error
    steps = tuple(StepAnnotation(value=value if index < (last or 0) or value is None else 0.0) for index in range(len(trace.steps)))
    return Annotation(trace_id=trace.trace_id, method="", first_error=first_error, steps=steps)


def labelled(heard: Mapping[str, int | None], cases: Sequence[AnnotatedTrace] = (), **fields: object) -> Label:
    fusion = Fusion(**fields)  # type: ignore[arg-type]
    return fusion.fit(cases).label(TRACE, {method: said(TRACE, first_error) for method, first_error in heard.items()})


class World:
    """Traces with a known first error, and sources that err at known rates, independently."""

    RATES: ClassVar[Mapping[str, tuple[float, float]]] = {"monte_carlo": (0.75, 0.9), "judge": (0.6, 0.8), "formal": (0.4, 1.0)}
    """How often a source names the right step of a wrong trace, and calls a sound one sound."""

    def __init__(self, seed: int, traces: int, *, speaks: float = 0.9) -> None:
        self.random = random.Random(seed)
        self.truths: dict[str, int] = {}
        self.cases = [self._case(f"t{number}", speaks) for number in range(traces)]

    def with_gold(self, share: float) -> Sequence[AnnotatedTrace]:
        known = int(share * len(self.cases))
        return [
            (trace, {**heard, "human": said(trace, self.truths[trace.trace_id])} if index < known else heard)
            for index, (trace, heard) in enumerate(self.cases)
        ]

    def _case(self, name: str, speaks: float) -> AnnotatedTrace:
        steps = self.random.randint(2, 8)
        truth = NO_ERROR if self.random.random() < 0.5 else self.random.randrange(steps)
        outcome = C if truth == NO_ERROR or self.random.random() < 0.1 else I
        trace = replace(trace_of(steps, truth), trace_id=name, outcome=outcome)
        self.truths[name] = truth
        return trace, {method: said(trace, self._says(truth, steps, *rates, speaks)) for method, rates in self.RATES.items()}

    def _says(self, truth: int, steps: int, exact: float, clear: float, speaks: float) -> int | None:
        if self.random.random() > speaks:
            return None
        if truth == NO_ERROR:
            return NO_ERROR if self.random.random() < clear else self.random.randrange(steps)
        if self.random.random() < exact:
            return truth
        return self.random.choice([place for place in range(NO_ERROR, steps) if place != truth])


def scored(world: World, labels: Sequence[Label]) -> list[Scored]:
    return [
        Scored(gold=world.truths[one.trace_id], predicted=one.first_error, believed=one.first_error, confidence=one.confidence)
        for one in labels
    ]


@pytest.mark.parametrize("gold", [0.0, 0.3, 1.0])
def test_what_is_learned_is_calibrated_and_beats_every_source(gold: float) -> None:
    world = World(1, 2000)
    labeler = Fusion(gold="human" if gold else "", provers=(), power=1).fit(world.with_gold(gold))  # which is so in this world
    labels = [labeler.label(trace, heard) for trace, heard in world.cases]
    fused = score(scored(world, labels))
    assert fused.calibration_error is not None
    assert fused.calibration_error < 0.04
    assert fused.exact is not None
    for method in World.RATES:
        alone = [Scored(gold=world.truths[trace.trace_id], predicted=heard[method].first_error) for trace, heard in world.cases]
        assert fused.exact > (score(alone).exact or 0)


def test_gold_is_no_source() -> None:
    world = World(2, 300)
    labeler = Fusion(gold="human").fit(world.with_gold(1.0))
    for trace, heard in world.cases[:50]:
        lie = {**heard, "human": said(trace, 0)}
        assert labeler.label(trace, lie) == labeler.label(trace, heard)


def test_a_source_that_is_often_wrong_counts_for_less() -> None:
    """Of two sources that disagree, the posterior believes the one that the others confirm."""
    world = World(3, 2000)
    labeler = Fusion().fit(world.cases)
    label = labeler.label(TRACE, {"monte_carlo": said(TRACE, 1), "judge": said(TRACE, 3)})
    assert (label.first_error, label.kept) == (1, False)


def test_the_same_traces_make_the_same_labels() -> None:
    world = World(4, 200)
    one, other = (Fusion().fit(world.cases) for _ in range(2))
    assert [one.label(*case) for case in world.cases] == [other.label(*case) for case in world.cases]


def test_a_step_is_worth_its_chance_that_nothing_was_wrong_until_then() -> None:
    label = labelled({"monte_carlo": 2, "judge": 2})
    values = [step.value for step in label.steps]
    assert all(a is not None and b is not None and a >= b for a, b in pairwise(values))
    assert values[1] is not None
    assert values[2] is not None
    assert values[1] - values[2] == pytest.approx(label.confidence)


def test_what_is_kept_is_labelled_to_the_first_error() -> None:
    label = labelled({"monte_carlo": 2, "judge": 2}, threshold=0.5)
    assert (label.kept, label.first_error, label.sources) == (True, 2, ("monte_carlo", "judge"))
    assert [step.label for step in label.steps] == [C, C, I, U, U]


def test_what_is_not_sure_enough_keeps_its_posterior_and_trains_nothing() -> None:
    label = labelled({"monte_carlo": 2, "judge": 0}, threshold=0.99)
    assert not label.kept
    assert label.reason.endswith(", below 0.99")
    assert {step.label for step in label.steps} == {U}
    assert all(step.value is not None for step in label.steps)


def test_a_trace_that_no_source_decides_has_no_posterior() -> None:
    label = labelled({"monte_carlo": None, "judge": None})
    assert (label.first_error, label.confidence, label.kept, label.reason) == (None, None, False, "undecided: every source")
    assert {step.value for step in label.steps} == {None}


def test_a_trace_that_ends_wrong_has_an_error() -> None:
    wrong = replace(TRACE, outcome=I)
    label = Fusion(threshold=0.01).fit([]).label(wrong, {method: said(wrong, NO_ERROR) for method in ("monte_carlo", "judge", "formal")})
    assert label.first_error != NO_ERROR


def test_what_a_prover_names_may_come_after_the_first_error_and_not_before() -> None:
    before = labelled({"monte_carlo": 1, "formal": 3}, provers=("formal",))
    assert before.first_error == 1
    after = labelled({"monte_carlo": 3, "formal": 1}, provers=("formal",))
    assert after.first_error == 1
    unproven = labelled({"monte_carlo": 3, "formal": 1}, provers=())
    assert (after.steps[1].value or 0) < (unproven.steps[1].value or 0)


def test_evidence_counts_for_less_than_it_would_if_sources_were_independent() -> None:
    heard = {"monte_carlo": 2, "judge": 2}
    assert (labelled(heard, power=0.5).confidence or 0) < (labelled(heard, power=1).confidence or 0)


def test_of_a_group_the_first_that_decides_is_heard() -> None:
    assert labelled({"monte_carlo": None, "binary_search": 1, "judge": 1}).confidence == labelled({"monte_carlo": 1, "judge": 1}).confidence
    both = labelled({"monte_carlo": 1, "binary_search": 3, "judge": 1})
    assert both.confidence == labelled({"monte_carlo": 1, "judge": 1}).confidence


def test_sureness_is_how_far_the_values_fall() -> None:
    heard = {"monte_carlo": said(TRACE, 2, value=0.3), "judge": said(TRACE, 2), "formal": said(TRACE, NO_ERROR, value=0.6)}
    assert Fusion().pattern(TRACE, heard).said == (Saying(2, 1), Saying(2, 3), Saying(NO_ERROR, 2))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("truth", [NO_ERROR, 0, 1, 4])
def test_all_that_a_source_can_say_has_a_chance_of_one_in_all(steps: int, truth: int) -> None:
    if truth >= steps:
        return
    rates = estimated({})
    sayings = [None, *(Saying(place, sureness) for place in range(NO_ERROR, steps) for sureness in range(4))]
    total = 0.0
    for saying in sayings:
        chance = 1.0
        for one in list(answers(Pattern(steps, U, (saying,)), truth))[1:]:
            chance *= rates.share(one) / one.places
        total += chance
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("methods", [[], ["judge"], ["monte_carlo", "binary_search"], ["other"]])
def test_one_source_alone_is_refused(methods: list[str]) -> None:
    with pytest.raises(ConfigError, match="needs two of its sources"):
        Fusion().check(methods)


def test_two_sources_are_enough() -> None:
    Fusion().check(["binary_search", "formal"])
    assert isinstance(Fusion(), FittableLabeler)
