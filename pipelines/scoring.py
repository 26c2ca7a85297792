"""Label quality: how a method's first errors and step verdicts agree with gold ones (oracle or human).

The measures are ProcessBench's (Zheng et al. 2024, arXiv 2412.06559, section 4): a prediction is right when it names exactly the gold first
error; F1 is the harmonic mean of the accuracies on erroneous and on error-free traces. A trace the method leaves undecided is a miss there,
and is also counted apart. Gold that is undecided is left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepmark.records import NO_ERROR, Verdict

__all__ = ["Case", "Score", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trace: its gold first error, the predicted one (None: undecided), and the predicted verdicts of its steps."""

    gold: int
    predicted: int | None
    steps: Sequence[Verdict] = ()
    right_answer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Shares in [0, 1]; None where there is nothing to take a share of."""

    traces: int
    decided: int
    exact: float | None
    """Of the decided traces, those with exactly the gold first error (for a consensus: the precision of what is kept)."""
    accuracy_wrong: float | None
    """Of the traces with an error, those whose first error is named exactly."""
    accuracy_right: float | None
    """Of the traces without an error, those said to have none."""
    f1: float | None
    step_precision: float | None
    """Of the steps said to be incorrect (none after the gold first error counts), those that are the gold first error."""
    step_recall: float | None
    """Of the gold first errors, those said to be incorrect."""
    flawed_positives: int
    """Right answers with a wrong step, in gold."""
    flawed_found: int
    """Of those, the ones whose first error is named exactly."""


def score(cases: Iterable[Case]) -> Score:
    """All measures of one method."""
    cases = list(cases)
    wrong = [case for case in cases if case.gold != NO_ERROR]
    right = [case for case in cases if case.gold == NO_ERROR]
    decided = [case for case in cases if case.predicted is not None]
    accuracy_wrong, accuracy_right = _share(_hits(wrong), len(wrong)), _share(_hits(right), len(right))
    flawed = [case for case in wrong if case.right_answer]
    named, true = _named_steps(cases)
    return Score(
        traces=len(cases),
        decided=len(decided),
        exact=_share(_hits(decided), len(decided)),
        accuracy_wrong=accuracy_wrong,
        accuracy_right=accuracy_right,
        f1=_harmonic(accuracy_wrong, accuracy_right),
        step_precision=_share(true, named),
        step_recall=_share(true, len(wrong)),
        flawed_positives=len(flawed),
        flawed_found=_hits(flawed),
    )


def _named_steps(cases: Iterable[Case]) -> tuple[int, int]:
    """(steps said to be incorrect, those of them that are gold first errors), up to and including the gold first error.

    After the first error gold says nothing of a step, so nothing there counts for or against a method.
    """
    named = true = 0
    for case in cases:
        last = len(case.steps) if case.gold == NO_ERROR else case.gold + 1
        said = [index for index, verdict in enumerate(case.steps[:last]) if verdict is Verdict.INCORRECT]
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
