"""The imports of the golden tests from the project, and adapters for unstable interfaces.

When a module moves or a name changes, only this file changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annotators.first_error import em
from annotators.first_error.features import encode
from annotators.first_error.likelihoods import StepLikelihoods
from annotators.first_error.model import FirstErrorModel, to_dict
from annotators.first_error.posterior import posteriors
from annotators.first_error.trace_evidence import Observation, RolloutEnd, TraceEvidence
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

LIKELIHOODS = StepLikelihoods(FirstErrorModel())
# The order is part of the recorded evidence, which has indices of this tuple.
ENDS = (RolloutEnd.CORRECT, RolloutEnd.SAME_WRONG, RolloutEnd.OTHER)
RECORDED_QUESTIONS: Mapping[str, str] = {
    "NO_ERROR": "sound",
    "LEVEL": "sureness",
    "REPORTS_NO_ERROR_CORRECTLY": "clear when sound",
    "MISSES_ERROR": "clear when flawed",
    "MISSES_HARMLESS_ERROR": "clear when flawed but right",
    "EXACT": "exact",
    "EXACT_OF_PROVER": "exact of a prover",
    "EARLY": "early",
    "EARLY_OF_PROVER": "early of a prover",
    "MISPLACED": "misplaced",
}
"""The names of questions in the recorded rates, by the name of their `QuestionKind`."""


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
    features = encode(steps, upstream)
    trace = TraceEvidence(features, correct_outcome=right, verbatim_rate=verbatim)
    for start, leaves, end in observations:
        trace.add(Observation(start, leaves, ENDS[end]))
    return trace


def default_weights(methods: int) -> Any:
    """Return the weights before anything is fitted."""
    return LIKELIHOODS.model.default_weights(methods)


def fit_weights(evidences: Sequence[Any], methods: int) -> Any:
    """Return the weights that EM fits to some traces."""
    return em.fit(evidences, methods, LIKELIHOODS)


def weights_of(weights: Any, methods: Sequence[str]) -> Mapping[str, Any]:
    """Return weights as lists of numbers, and as the JSON of the column `learned`."""
    return {
        "before": weights.before.tolist(),
        "ending": weights.ending.tolist(),
        "after": weights.after.tolist(),
        "signs": weights.feature_log_rates.tolist(),
        "learned": to_dict(weights, methods),
    }


def posteriors_and_gains(
    evidences: Sequence[Any],
    weights: Any,
) -> Sequence[tuple[list[float], list[float]]]:
    """Return the posterior of every trace, and the expected information gain of every prefix."""
    pairs = posteriors(evidences, [weights] * len(evidences), LIKELIHOODS)
    return [(posterior.tolist(), gains.tolist()) for posterior, gains in pairs]


def fit_fusion(cases: Sequence[tuple[Trace, Mapping[str, Annotation]]], **fields: Any) -> Any:
    """Return the labeler that fusion fits to some traces."""
    return plugins.build("labelers", {"use": "fusion", **fields}).fit(cases)


def fusion_rates(labeler: Any) -> Mapping[str, Mapping[str, float]]:
    """Return the fitted rates by question and answer."""
    rates = dict[str, dict[str, float]]()
    for question, shares in labeler.rates.shares.items():
        name = RECORDED_QUESTIONS[question.kind.name]
        details = [part for part in (question.source, question.context) if part is not None]
        rates[repr((name, *details))] = {repr(answer): share for answer, share in shares.items()}
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
