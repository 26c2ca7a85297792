"""Labels from the posterior of one method."""

import pytest

from annotators.failures import abstention
from annotators.labelers.posterior import Posterior
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, StepAnnotation
from tests.annotators.simulated import trace_of

TRACE = trace_of(4, 2)


def annotations(*posterior: float) -> dict[str, Annotation]:
    """Return the annotation of `adaptive_search` with this posterior."""
    steps = (StepAnnotation(),) * len(TRACE.steps)
    annotation = Annotation(
        trace_id=TRACE.trace_id,
        method="adaptive_search",
        first_error=None,
        steps=steps,
        posterior=posterior,
    )
    return {"adaptive_search": annotation}


def test_likely_first_error_is_kept() -> None:
    # Four steps, and at the end the probability of no error.
    label = Posterior().label(TRACE, annotations(0.0, 0.05, 0.95, 0.0, 0.0))
    assert (label.first_error, label.confidence, label.kept) == (2, 0.95, True)
    assert label.sources == ("adaptive_search",)
    verdicts = [step.label for step in label.steps]
    assert verdicts == ["correct", "correct", "incorrect", "unknown"]
    values = [step.value for step in label.steps]
    assert values == pytest.approx([1.0, 0.95, 0.0, 0.0])


def test_unlikely_first_error_is_dropped() -> None:
    label = Posterior(threshold=0.96).label(TRACE, annotations(0.0, 0.05, 0.95, 0.0, 0.0))
    assert (label.first_error, label.kept) == (2, False)
    assert label.reason == "posterior 0.950, below 0.96"
    assert {step.label for step in label.steps} == {"unknown"}
    assert label.steps[1].value == pytest.approx(0.95)


def test_last_probability_is_no_error() -> None:
    label = Posterior().label(TRACE, annotations(0.01, 0.01, 0.01, 0.01, 0.96))
    assert label.first_error == NO_ERROR
    assert {step.label for step in label.steps} == {"correct"}


@pytest.mark.parametrize("method_annotations", [{}, {"adaptive_search": abstention(TRACE, "none")}])
def test_missing_posterior_abstains(method_annotations: dict[str, Annotation]) -> None:
    label = Posterior().label(TRACE, method_annotations)
    assert (label.first_error, label.kept, label.confidence) == (None, False, None)
    assert label.reason == "undecided: adaptive_search"


def test_run_without_method_is_rejected() -> None:
    message = "needs the annotator 'adaptive_search'; the run has: judge"
    with pytest.raises(ConfigError, match=message):
        Posterior().check(["judge"])
