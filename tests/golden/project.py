"""All that the golden tests import from the project, and thin adapters for what has no stable interface.

When a module moves or a name changes, only this file changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annotators import _first_error
from annotators._signs import signs_of
from annotators.judging.reply_parser import read_verdicts
from engines.base import Completion, Prompt, Scored
from pipelines.__main__ import main
from stepmark import plugins
from stepmark.final_answers import final_answer
from stepmark.records import Annotation, Cost, Label, Sampling, StepAnnotation, Trace, Verdict
from stepmark.steps import split
from verifiers.base import AnswerClaim, StepClaim

__all__ = [
    "Annotation",
    "AnswerClaim",
    "Completion",
    "Cost",
    "Label",
    "Prompt",
    "Sampling",
    "Scored",
    "StepAnnotation",
    "StepClaim",
    "Trace",
    "Verdict",
    "available",
    "default_weights",
    "evidence",
    "final_answer",
    "fit_fusion",
    "fit_weights",
    "fusion_posterior",
    "fusion_rates",
    "main",
    "pocket_class",
    "posteriors_and_gains",
    "read_verdicts",
    "split",
    "verifier",
    "weights_of",
]

RIGHT, SAME, OTHER = _first_error.RIGHT, _first_error.SAME, _first_error.OTHER
ENDS = (RIGHT, SAME, OTHER)


def pocket_class() -> Any:
    """Return the class of the pocket engine."""
    return type(plugins.build("engines", {"use": "pocket"}))


def verifier(name: str) -> Any:
    """Return a verifier with its defaults."""
    return plugins.build("verifiers", {"use": name})


def available(package: str) -> Sequence[str]:
    """Return the ids of the plugins of a package."""
    return plugins.available(package)


def evidence(
    steps: int,
    observations: Iterable[tuple[int, int, int]],
    upstream: Sequence[Annotation | None],
    *,
    right: bool,
    verbatim: float,
) -> Any:
    """Return the evidence of one trace: observations are (start, leaves, index of `ENDS`)."""
    belief = _first_error.Belief(signs_of(steps, upstream), right=right, verbatim=verbatim)
    for start, leaves, end in observations:
        belief.see(_first_error.Observation(start, leaves, ENDS[end]))
    return belief


def default_weights(methods: int) -> Any:
    """Return the weights before anything is fitted."""
    return _first_error.default(methods)


def fit_weights(evidences: Sequence[Any], methods: int) -> Any:
    """Return the weights that EM fits to some traces."""
    return _first_error.fitted(evidences, methods)


def weights_of(weights: Any, methods: Sequence[str]) -> Mapping[str, Any]:
    """Return weights as lists of numbers, and as the JSON of the column `learned`."""
    return {
        "before": weights.before.tolist(),
        "ending": weights.ending.tolist(),
        "after": weights.after.tolist(),
        "signs": weights.signs.tolist(),
        "learned": _first_error.told(weights, methods),
    }


def posteriors_and_gains(
    evidences: Sequence[Any],
    weights: Any,
) -> Sequence[tuple[list[float], list[float]]]:
    """Return the posterior of every trace, and the expected information gain of every prefix."""
    pairs = _first_error.weighed(evidences, [weights] * len(evidences))
    return [(posterior.tolist(), gains.tolist()) for posterior, gains in pairs]


def fit_fusion(cases: Sequence[tuple[Trace, Mapping[str, Annotation]]], **fields: Any) -> Any:
    """Return the labeler that fusion fits to some traces."""
    return plugins.build("labelers", {"use": "fusion", **fields}).fit(cases)


def fusion_rates(labeler: Any) -> Mapping[str, Mapping[str, float]]:
    """Return the fitted rates by question and answer."""
    rates = dict[str, dict[str, float]]()
    for question, shares in labeler.rates._shares.items():
        rates[repr(question)] = {repr(answer): share for answer, share in shares.items()}
    return dict(sorted(rates.items()))


def fusion_posterior(
    labeler: Any,
    trace: Trace,
    annotations: Mapping[str, Annotation],
) -> Mapping[str, float]:
    """Return the chance of each first error, -1 for none."""
    fusion = labeler.fusion
    pattern = fusion.pattern(trace, annotations)._replace(gold=None)
    posterior = labeler.rates.posterior(pattern, fusion.power)
    return {str(first_error): chance for first_error, chance in posterior.items()}
