"""One method's posterior becomes the label where it is sure enough."""

import pytest

from annotators.failures import abstention
from annotators.labelers.posterior import Posterior
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, StepAnnotation
from tests.annotators.simulated import trace_of

TRACE = trace_of(4, 2)


def said(*posterior: float) -> dict[str, Annotation]:
    steps = (StepAnnotation(),) * len(TRACE.steps)
    return {
        "adaptive_search": Annotation(trace_id=TRACE.trace_id, method="adaptive_search", first_error=None, steps=steps, posterior=posterior)
    }


def test_what_is_sure_is_kept_up_to_its_error() -> None:
    label = Posterior().label(TRACE, said(0.0, 0.05, 0.95, 0.0, 0.0))
    assert (label.first_error, label.confidence, label.kept, label.sources) == (2, 0.95, True, ("adaptive_search",))
    assert [step.label for step in label.steps] == ["correct", "correct", "incorrect", "unknown"]
    assert [step.value for step in label.steps] == pytest.approx([1.0, 0.95, 0.0, 0.0])


def test_what_is_not_trains_nothing_and_keeps_its_values() -> None:
    label = Posterior(threshold=0.96).label(TRACE, said(0.0, 0.05, 0.95, 0.0, 0.0))
    assert (label.first_error, label.kept, label.reason) == (2, False, "posterior 0.950, below 0.96")
    assert {step.label for step in label.steps} == {"unknown"}
    assert label.steps[1].value == pytest.approx(0.95)


def test_the_last_chance_is_that_of_no_error() -> None:
    label = Posterior().label(TRACE, said(0.01, 0.01, 0.01, 0.01, 0.96))
    assert label.first_error == NO_ERROR
    assert {step.label for step in label.steps} == {"correct"}


def test_without_a_posterior_there_is_no_label_and_without_the_method_no_run() -> None:
    for annotations in ({}, {"adaptive_search": abstention(TRACE, "no answer")}):
        label = Posterior().label(TRACE, annotations)
        assert (label.first_error, label.kept, label.reason, label.confidence) == (None, False, "undecided: adaptive_search", None)
    with pytest.raises(ConfigError, match="needs the annotator 'adaptive_search'; the run has: judge"):
        Posterior().check(["judge"])
