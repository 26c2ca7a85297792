"""The contract of labelers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from annotators.base import FittableLabeler, Labeler
from annotators.failures import abstention
from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import traces
from stepmark.errors import ConfigError
from stepmark.records import NO_ERROR, Annotation, Label, StepAnnotation, Trace, Verdict

__all__ = ["CHECKS"]

METHODS = ("monte_carlo", "judge", "formal")


def _annotation(trace: Trace, method: str, first_error: int | None) -> Annotation:
    # A run annotates no trace without steps.
    if first_error is None or first_error >= len(trace.steps) or not trace.steps:
        return abstention(trace, "a sample")
    steps = list[StepAnnotation]()
    for index in range(len(trace.steps)):
        verdict = Verdict.UNKNOWN
        if first_error == NO_ERROR or index < first_error:
            verdict = Verdict.CORRECT
        elif index == first_error:
            verdict = Verdict.INCORRECT
        steps.append(StepAnnotation(verdict=verdict, value=0.5, successes=1, trials=2))
    return Annotation(
        trace_id=trace.trace_id, method=method, first_error=first_error, steps=tuple(steps)
    )


def _cases() -> Iterator[tuple[Trace, Mapping[str, Annotation]]]:
    """Yield every combination of first errors of three methods, and traces without annotations."""
    for trace in traces():
        yield trace, {}
        for first_errors in itertools.product((None, NO_ERROR, 0, 1), repeat=len(METHODS)):
            annotations = dict[str, Annotation]()
            for method, first_error in zip(METHODS, first_errors, strict=True):
                annotations[method] = _annotation(trace, method, first_error)
            yield trace, annotations


def _fitted(subject: Subject) -> Labeler:
    plugin = subject.build()
    return plugin.fit(_cases()) if isinstance(plugin, FittableLabeler) else plugin


def _check_label(trace: Trace, label: Label) -> None:
    where = trace.trace_id
    require(label.trace_id == trace.trace_id, f"{where}: the label of {label.trace_id}")
    require(len(label.steps) == len(trace.steps), f"{where}: other steps")
    valid = (None, NO_ERROR, *range(len(trace.steps)))
    require(label.first_error in valid, f"{where}: the first error {label.first_error}")
    require(label.reason or label.kept, f"{where}: a label that is not kept has no reason")
    is_share = label.confidence is None or 0 <= label.confidence <= 1
    require(is_share, f"{where}: a confidence of {label.confidence}")
    if label.kept:
        require(label.first_error is not None, f"{where}: a kept label without a first error")


def _labels_are_valid(subject: Subject) -> None:
    labeler = _fitted(subject)
    for trace, annotations in _cases():
        _check_label(trace, labeler.label(trace, annotations))


def _is_deterministic(subject: Subject) -> None:
    first = _fitted(subject)
    second = _fitted(subject)
    for trace, annotations in _cases():
        same = first.label(trace, annotations) == second.label(trace, annotations)
        require(same, f"{trace.trace_id}: two labels")


def _rejects_runs_without_methods(subject: Subject) -> None:
    try:
        subject.build().check([])
    except ConfigError:
        return
    require(False, "`check([])` must raise ConfigError: without methods there are no labels")


CHECKS: Sequence[Check] = (
    Check(what="labels every trace", run=_labels_are_valid),
    Check(what="is deterministic", run=_is_deterministic),
    Check(what="rejects a run without methods", run=_rejects_runs_without_methods),
)
