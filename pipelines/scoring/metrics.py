"""Label quality: how a method's first errors and step verdicts agree with gold ones (oracle or human).

The measures are ProcessBench's (Zheng et al. 2024, arXiv 2412.06559, section 4): a prediction is right when it names exactly the gold first
error; F1 is the harmonic mean of the accuracies on erroneous and on error-free traces. A trace the method leaves undecided is a miss there,
and is also counted apart. Gold that is undecided is left out.

Calibration is of what a method is confident of, kept or not: the expected calibration error over ten bins of equal width (Guo et al. 2017,
arXiv 1706.04599, section 2).

Methods that decide more, or less, are compared at an equal share of the traces: each at its surest ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepmark.records import NO_ERROR, Verdict

__all__ = ["Bin", "Case", "Score", "score"]

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trace: its gold first error, the predicted one (None: undecided), and the predicted verdicts of its steps."""

    gold: int
    predicted: int | None
    steps: Sequence[Verdict] = ()
    right_answer: bool = False
    believed: int | None = None
    """The first error that `confidence` is of; a label that is not kept believes in one too."""
    confidence: float | None = None
    sureness: float = 0.0
    """Orders the traces that a method decides, where it states no confidence."""
    tokens: int = 0
    """Generated to say this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The traces whose confidence lies in one tenth of [0, 1]."""

    low: float
    traces: int
    confidence: float
    """Mean."""
    accuracy: float
    """The share of them whose believed first error is exactly the gold one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Shares in [0, 1]; None where there is nothing to take a share of."""

    traces: int
    decided: int
    exact: float | None
    """Of the decided traces, those with exactly the gold first error (for a consensus: the precision of what is kept)."""
    exact_at_share: float | None
    """The same of the surest ones that make up a share of all traces; None where fewer are decided, or no share is given."""
    accuracy_wrong: float | None
    """Of the traces with an error, those whose first error is named exactly."""
    accuracy_right: float | None
    """Of the traces without an error, those said to have none."""
    f1: float | None
    step_precision: float | None
    """Of the steps said to be incorrect (none after the gold first error counts), those that are the gold first error."""
    step_recall: float | None
    """Of the gold first errors, those said to be incorrect."""
    step_f1: float | None
    """The harmonic mean of the two."""
    flawed_positives: int
    """Right answers with a wrong step, in gold."""
    flawed_found: int
    """Of those, the ones whose first error is named exactly."""
    reliability: tuple[Bin, ...]
    """Of the traces with a confidence; bins without a trace are left out."""
    calibration_error: float | None
    """The mean distance of a bin's accuracy from its confidence, bins weighing as their traces."""
    tokens: float | None
    """Generated for a trace, on average."""


def score(cases: Iterable[Case], *, share: float | None = None) -> Score:
    """All measures of one method; `share`, in [0, 1], is the one at which methods are compared."""
    cases = list(cases)
    wrong = [case for case in cases if case.gold != NO_ERROR]
    right = [case for case in cases if case.gold == NO_ERROR]
    decided = [case for case in cases if case.predicted is not None]
    accuracy_wrong, accuracy_right = (
        _share(_hits(wrong), len(wrong)),
        _share(_hits(right), len(right)),
    )
    flawed = [case for case in wrong if case.right_answer]
    named, true = _named_steps(cases)
    step_precision, step_recall = _share(true, named), _share(true, len(wrong))
    reliability = _bins(cases)
    return Score(
        traces=len(cases),
        decided=len(decided),
        exact=_share(_hits(decided), len(decided)),
        exact_at_share=None
        if share is None
        else _exact_of_surest(decided, round(share * len(cases))),
        accuracy_wrong=accuracy_wrong,
        accuracy_right=accuracy_right,
        f1=_harmonic(accuracy_wrong, accuracy_right),
        step_precision=step_precision,
        step_recall=step_recall,
        step_f1=_harmonic(step_precision, step_recall),
        flawed_positives=len(flawed),
        flawed_found=_hits(flawed),
        reliability=reliability,
        calibration_error=_calibration_error(reliability),
        tokens=sum(case.tokens for case in cases) / len(cases) if cases else None,
    )


def _exact_of_surest(decided: Sequence[Case], count: int) -> float | None:
    """Of `count` traces, the surest; of those that are as sure as the last of them, as many as fit are taken at their average."""
    if not 0 < count <= len(decided):
        return None
    ranks = [case.sureness if case.confidence is None else case.confidence for case in decided]
    last = sorted(ranks, reverse=True)[count - 1]
    surer = [case for case, rank in zip(decided, ranks, strict=True) if rank > last]
    as_sure = [case for case, rank in zip(decided, ranks, strict=True) if rank == last]
    return (_hits(surer) + (count - len(surer)) * _hits(as_sure) / len(as_sure)) / count


def _bins(cases: Iterable[Case]) -> tuple[Bin, ...]:
    found: dict[int, list[tuple[float, bool]]] = {}
    for case in cases:
        if case.confidence is not None:
            place = min(int(BINS * case.confidence), BINS - 1)
            found.setdefault(place, []).append((case.confidence, case.believed == case.gold))
    return tuple(
        Bin(
            low=place / BINS,
            traces=len(inside),
            confidence=sum(confidence for confidence, _ in inside) / len(inside),
            accuracy=sum(right for _, right in inside) / len(inside),
        )
        for place, inside in sorted(found.items())
    )


def _calibration_error(bins: Sequence[Bin]) -> float | None:
    traces = sum(one.traces for one in bins)
    return (
        sum(one.traces * abs(one.accuracy - one.confidence) for one in bins) / traces
        if traces
        else None
    )


def _named_steps(cases: Iterable[Case]) -> tuple[int, int]:
    """(steps said to be incorrect, those of them that are gold first errors), up to and including the gold first error.

    After the first error gold says nothing of a step, so nothing there counts for or against a method.
    """
    named = true = 0
    for case in cases:
        last = len(case.steps) if case.gold == NO_ERROR else case.gold + 1
        said = [
            index for index, verdict in enumerate(case.steps[:last]) if verdict is Verdict.INCORRECT
        ]
        named += len(said)
        true += case.gold in said
    return named, true


def _hits(cases: Iterable[Case]) -> int:
    return sum(case.predicted == case.gold for case in cases)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0
