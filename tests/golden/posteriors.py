"""Posteriors, information gains and fitted parameters on synthetic evidence."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.golden import project
from tests.golden.project import Annotation, Cost, StepAnnotation, Trace, Verdict
from tests.golden.rows import Golden

__all__ = ["golden_sets"]

TRACES = 48
METHODS = ("formal", "judge")
VERDICTS = (Verdict.CORRECT, Verdict.UNKNOWN, Verdict.INCORRECT)
GROUPS = ("monte_carlo", "judge", "formal")


def golden_sets() -> Mapping[str, Golden]:
    """Return the numbers of adaptive search and of fusion."""
    return {"adaptive_numbers": _adaptive_search(), "fusion_numbers": _fusion()}


def _adaptive_search() -> Golden:
    golden = Golden()
    for methods in ((), METHODS):
        # A fixed seed, which differs between the two settings.
        draw = random.Random(len(methods))
        evidences = [_evidence(draw, methods) for _ in range(TRACES)]
        default = project.default_weights(len(methods))
        fitted = project.fit_weights(evidences, len(methods))
        for name, weights in (("default", default), ("fitted", fitted)):
            for part, values in project.weights_of(weights, methods).items():
                golden.decisions.append({"weights": name, "methods": len(methods), part: values})
            pairs = project.posteriors_and_gains(evidences, weights)
            for number, (posterior, gains) in enumerate(pairs):
                numbers = {"posterior": posterior, "gains": gains}
                golden.decisions.append({"trace": number, "weights": name, **numbers})
            singles = [project.posteriors_and_gains([item], weights)[0] for item in evidences]
            assert singles == pairs, "a batch gives the same numbers as each trace alone"
    return golden


def _evidence(draw: random.Random, methods: Sequence[str]) -> Any:
    """Return the evidence of one trace of 1 to 12 steps and up to 30 observations."""
    steps = 1 + _below(draw, 12)
    observations = list[tuple[int, int, int]]()
    for _ in range(_below(draw, 31)):
        start = _below(draw, steps)
        leaves = start + _below(draw, steps - start + 1)
        observations.append((start, leaves, _below(draw, 3)))
    upstream = [_annotation(draw, method, steps) for method in methods]
    # Fewer correct outcomes than incorrect ones.
    right = draw.random() < 0.4
    # Between 0.01 and 0.99.
    verbatim = 0.01 + 0.01 * _below(draw, 99)
    return project.evidence(steps, observations, upstream, right=right, verbatim=verbatim)


def _fusion() -> Golden:
    golden = Golden()
    draw = random.Random(11)
    # Fusion is fitted to more traces than are recorded.
    cases = [_case(draw, number) for number in range(8 * TRACES)]
    settings: Mapping[str, Mapping[str, Any]] = {
        "defaults": {},
        "gold": {"gold": "oracle", "threshold": 0.6, "power": 1.0},
        "two sources": {"sources": [["monte_carlo"], ["judge", "formal"]], "provers": []},
    }
    for name, fields in settings.items():
        labeler = project.fit_fusion(cases, **fields)
        for trace, annotations in cases[:TRACES]:
            posterior = project.fusion_posterior(labeler, trace, annotations)
            label = labeler.label(trace, annotations)
            golden.decisions.append(
                {
                    "settings": name,
                    "trace": trace.trace_id,
                    "posterior": posterior,
                    "first_error": label.first_error,
                    "confidence": label.confidence,
                    "kept": label.kept,
                    "sources": list(label.sources),
                    "steps": [[step.label.value, step.value] for step in label.steps],
                }
            )
            golden.texts.append({"settings": name, "trace": trace.trace_id, "reason": label.reason})
        for question, shares in project.fusion_rates(labeler).items():
            golden.decisions.append({"settings": name, "question": question, "rates": shares})
    return golden


def _case(draw: random.Random, number: int) -> tuple[Trace, Mapping[str, Annotation]]:
    """Return a trace with annotations; some methods have none of it."""
    steps = 1 + _below(draw, 8)
    outcome = VERDICTS[_below(draw, 3)]
    trace = Trace(
        trace_id=f"trace {number}",
        problem_id="problem",
        steps=("a step\n",) * steps,
        final_answer=None,
        outcome=outcome,
        outcome_reason="",
        model="",
    )
    annotations = dict[str, Annotation]()
    for method in (*GROUPS, "oracle"):
        # Every method misses some traces.
        if draw.random() < 0.8:
            annotations[method] = _annotation(draw, method, steps)
    return trace, annotations


def _annotation(draw: random.Random, method: str, steps: int) -> Annotation:
    """Return an annotation with random verdicts and values; a third names no first error."""
    annotations = list[StepAnnotation]()
    for _ in range(steps):
        value = draw.random() if draw.random() < 0.7 else None
        annotations.append(StepAnnotation(verdict=VERDICTS[_below(draw, 3)], value=value))
    first_error = None
    if draw.random() < 0.67:
        first_error = _below(draw, steps + 1) - 1
    return Annotation(
        trace_id="",
        method=method,
        first_error=first_error,
        steps=tuple(annotations),
        cost=Cost(),
    )


def _below(draw: random.Random, bound: int) -> int:
    """Return an integer below a bound. `random()` alone is the same in every version of Python."""
    return int(draw.random() * bound)
