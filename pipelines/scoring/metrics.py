"""Label quality: how the first errors and step verdicts of a method agree with gold ones.

The measures are those of ProcessBench (Zheng et al. 2024, arXiv 2412.06559, section 4): a
prediction is correct if it names exactly the gold first error; F1 is the harmonic mean of the
accuracies on traces with and without an error. A trace on which the method is undecided counts as a
miss and is also reported in `Score.decided`. Traces whose gold label is undecided are excluded by
the caller.

Calibration covers every stated confidence, of labels that are not kept too: the expected
calibration error over ten bins of equal width (Guo et al. 2017, arXiv 1706.04599, section 2).

Solutions of easy problems repeat, and copies make a method look better than it is. Therefore the
share of exact labels is also computed with one copy of every distinct text, and methods that decide
different numbers of traces are compared at an equal share of the distinct texts: each on those of
which it is most confident.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepmark.records import NO_ERROR, Verdict

__all__ = ["Bin", "Case", "Score", "one_per_text", "score"]

# Bins of equal width over [0, 1], for calibration.
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The gold label of one trace and the prediction of one method."""

    gold: int
    """The index of the gold first error, -1 for none."""
    predicted: int | None
    """The predicted first error; None if the method is undecided."""
    steps: Sequence[Verdict] = ()
    """The predicted verdict of each step."""
    right_answer: bool = False
    """Whether the final answer of the trace is correct."""
    stated_error: int | None = None
    """The first error to which `confidence` refers. It equals `predicted`, except that a label that
    is not kept predicts none and still states one."""
    confidence: float | None = None
    ranking_value: float = 0.0
    """Ranks the decided traces of a method that states no confidence: the drop of the step value at
    the predicted first error."""
    tokens: int = 0
    """The tokens generated for the prediction."""
    text: int | None = None
    """Identifies the problem and the text of the trace; None if no other trace has the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The traces whose confidence falls into one tenth of [0, 1]."""

    low: float
    """The lower bound of the bin."""
    traces: int
    confidence: float
    """The mean confidence."""
    accuracy: float
    """The share of the traces whose stated first error is exactly the gold one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The measures of one method. Shares are in [0, 1]; None if the denominator is zero."""

    traces: int
    decided: int
    exact: float | None
    """The share of decided traces with exactly the gold first error.

    For a consensus this is the precision of the kept labels.
    """
    distinct: int
    """The number of distinct texts of decided traces."""
    exact_distinct: float | None
    """The share of distinct texts with exactly the gold first error, by their first decided copy.
    """
    exact_at_share: float | None
    """The same for the most confident texts that make up a given share of all distinct texts.

    None if fewer texts are decided, or no share is given.
    """
    accuracy_wrong: float | None
    """The share of traces with an error whose first error is named exactly."""
    accuracy_right: float | None
    """The share of traces without an error that are predicted to have none."""
    f1: float | None
    """The harmonic mean of the two accuracies."""
    step_precision: float | None
    """The share of steps predicted incorrect that are the gold first error.

    Steps after the gold first error are ignored.
    """
    step_recall: float | None
    """The share of gold first errors that are predicted incorrect."""
    step_f1: float | None
    """The harmonic mean of step precision and recall."""
    flawed_positives: int
    """The number of traces with a correct answer and an incorrect step, in gold."""
    flawed_found: int
    """The number of flawed positives whose first error is named exactly."""
    reliability: tuple[Bin, ...]
    """The traces with a confidence, binned; empty bins are left out."""
    calibration_error: float | None
    """The mean absolute difference of accuracy and confidence, weighted by traces per bin."""
    tokens: float | None
    """The mean number of tokens generated per trace."""


def score(cases: Iterable[Case], *, share: float | None = None) -> Score:
    """Return all measures of one method.

    Args:
        cases: The traces with a gold label.
        share: The share of the distinct texts, in [0, 1], for `Score.exact_at_share`.
    """
    cases = list(cases)
    texts = one_per_text(cases)
    decided_texts = [case for case in texts if case.predicted is not None]
    wrong = [case for case in cases if case.gold != NO_ERROR]
    right = [case for case in cases if case.gold == NO_ERROR]
    decided = [case for case in cases if case.predicted is not None]
    flawed = [case for case in wrong if case.right_answer]
    accuracy_wrong = _share(_hits(wrong), len(wrong))
    accuracy_right = _share(_hits(right), len(right))
    predicted_steps, correct_steps = _count_predicted_steps(cases)
    step_precision = _share(correct_steps, predicted_steps)
    step_recall = _share(correct_steps, len(wrong))
    exact_at_share = None
    if share is not None:
        exact_at_share = _exact_of_most_confident(decided_texts, round(share * len(texts)))
    reliability = _bins(cases)
    return Score(
        traces=len(cases),
        decided=len(decided),
        exact=_share(_hits(decided), len(decided)),
        distinct=len(decided_texts),
        exact_distinct=_share(_hits(decided_texts), len(decided_texts)),
        exact_at_share=exact_at_share,
        accuracy_wrong=accuracy_wrong,
        accuracy_right=accuracy_right,
        f1=_harmonic_mean(accuracy_wrong, accuracy_right),
        step_precision=step_precision,
        step_recall=step_recall,
        step_f1=_harmonic_mean(step_precision, step_recall),
        flawed_positives=len(flawed),
        flawed_found=_hits(flawed),
        reliability=reliability,
        calibration_error=_calibration_error(reliability),
        tokens=_share(sum(case.tokens for case in cases), len(cases)),
    )


def one_per_text(cases: Iterable[Case]) -> list[Case]:
    """Return the first decided case of every distinct text, or its first one if none is decided."""
    first_cases = dict[int, Case]()
    unique = list[Case]()
    for case in cases:
        if case.text is None:
            unique.append(case)
            continue
        earlier = first_cases.get(case.text)
        if earlier is None or (earlier.predicted is None and case.predicted is not None):
            first_cases[case.text] = case
    return [*unique, *first_cases.values()]


def _exact_of_most_confident(decided: Sequence[Case], count: int) -> float | None:
    """Return the share of exact predictions among the `count` most confident cases.

    Cases that tie with the last of them fill the remaining places at their average accuracy, so the
    result does not depend on the order of the cases.
    """
    if not 0 < count <= len(decided):
        return None
    lowest = sorted(map(_rank, decided), reverse=True)[count - 1]
    above = [case for case in decided if _rank(case) > lowest]
    tied = [case for case in decided if _rank(case) == lowest]
    expected_hits = _hits(above) + (count - len(above)) * _hits(tied) / len(tied)
    return expected_hits / count


def _rank(case: Case) -> float:
    return case.ranking_value if case.confidence is None else case.confidence


def _bins(cases: Iterable[Case]) -> tuple[Bin, ...]:
    by_bin = dict[int, list[tuple[float, bool]]]()
    for case in cases:
        if case.confidence is not None:
            # The last bin includes a confidence of exactly 1.
            number = min(int(BINS * case.confidence), BINS - 1)
            by_bin.setdefault(number, []).append((case.confidence, case.stated_error == case.gold))
    bins = list[Bin]()
    for number, entries in sorted(by_bin.items()):
        bins.append(
            Bin(
                low=number / BINS,
                traces=len(entries),
                confidence=sum(confidence for confidence, _ in entries) / len(entries),
                accuracy=sum(correct for _, correct in entries) / len(entries),
            )
        )
    return tuple(bins)


def _calibration_error(bins: Sequence[Bin]) -> float | None:
    if not bins:
        return None
    traces = sum(item.traces for item in bins)
    return sum(item.traces * abs(item.accuracy - item.confidence) for item in bins) / traces


def _count_predicted_steps(cases: Iterable[Case]) -> tuple[int, int]:
    """Return the number of steps predicted incorrect, and of those that are gold first errors.

    Steps after the gold first error are not counted, because gold does not label them.
    """
    predicted = 0
    correct = 0
    for case in cases:
        end = len(case.steps) if case.gold == NO_ERROR else case.gold + 1
        for index, verdict in enumerate(case.steps[:end]):
            if verdict is Verdict.INCORRECT:
                predicted += 1
                correct += index == case.gold
    return predicted, correct


def _hits(cases: Iterable[Case]) -> int:
    """Return the number of cases whose predicted first error is exactly the gold one."""
    return sum(case.predicted == case.gold for case in cases)


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def _harmonic_mean(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    if a + b == 0:
        return 0.0
    return 2 * a * b / (a + b)
