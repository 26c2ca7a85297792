"""PROF: keep the traces of each problem whose step values agree with their final answer.

The PRocess cOnsistency Filter (Ye et al. 2025, "Beyond Correctness", arXiv 2509.03403) keeps
correct answers with a high mean step value and incorrect answers with a low one, in equal numbers
if there are enough. For 5 correct and 3 incorrect answers, half of the traces are kept by removing
the 3 lowest correct ones and the highest incorrect one.

The rule is that of the paper, its input is not: the paper scores all samples of a policy with a
process reward model. Here the step values are those of the labels, and only kept traces count.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from statistics import fmean
from typing import ClassVar, NamedTuple

from filters.base import Candidate, Candidates, Share
from stepmark.identity import digest
from stepmark.records import Label, Verdict

__all__ = ["Prof"]

# Counts are rounded to this many digits before `ceil` and `floor`, against floating-point errors:
# 0.7 of 10 is 7, not the 8 above 7.000000000000001.
DIGITS = 9


class _ScoredTrace(NamedTuple):
    """A trace with its mean step value and whether its final answer is correct."""

    trace_id: str
    value: float
    is_correct: bool


@dataclass(frozen=True, kw_only=True)
class Prof:
    """Keep the share `keep` of the traces of each problem, of which a share `right` is correct.

    If there are too few traces of one outcome, traces of the other outcome replace them. The mean
    is over the steps that have a value. A trace without step values or with an unknown outcome is
    not counted and is kept.
    """

    keep: Share = 0.5
    """Share of each problem's traces that is kept."""
    right: Share = 0.5
    """Share of the kept traces that have a correct answer."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each of the least consistent traces, by trace id."""
        traces_by_problem: dict[str, list[_ScoredTrace]] = defaultdict(list)
        for candidate in candidates():
            scored = _score(candidate)
            if scored is not None:
                traces_by_problem[candidate.problem.problem_id].append(scored)
        reasons: dict[str, str] = {}
        for traces in traces_by_problem.values():
            reasons |= self._drop_of_problem(traces)
        return reasons

    def _drop_of_problem(self, traces: Sequence[_ScoredTrace]) -> Mapping[str, str]:
        # The most consistent traces come first. Equal values are ordered by a hash of their ids.
        correct = [trace for trace in traces if trace.is_correct]
        correct.sort(key=lambda trace: (-trace.value, digest("prof", trace.trace_id)))
        incorrect = [trace for trace in traces if not trace.is_correct]
        incorrect.sort(key=lambda trace: (trace.value, digest("prof", trace.trace_id)))

        kept = ceil(round(self.keep * len(traces), DIGITS))
        target_correct = floor(round(self.right * kept, DIGITS) + 0.5)
        # Missing incorrect traces are replaced by correct ones, as far as there are any.
        kept_correct = min(len(correct), max(kept - len(incorrect), target_correct))
        kept_incorrect = kept - kept_correct

        reasons: dict[str, str] = {}
        for trace in correct[kept_correct:]:
            reasons[trace.trace_id] = (
                f"mean step value {trace.value:.3f}, not among the {kept_correct} highest"
                f" of the problem's {len(correct)} right answers"
            )
        for trace in incorrect[kept_incorrect:]:
            reasons[trace.trace_id] = (
                f"mean step value {trace.value:.3f}, not among the {kept_incorrect} lowest"
                f" of the problem's {len(incorrect)} wrong answers"
            )
        return reasons


def _score(candidate: Candidate) -> _ScoredTrace | None:
    """Return the trace with its mean step value; None if it has no value or no known outcome."""
    value = _mean_value(candidate.label)
    outcome = candidate.trace.outcome
    if value is None or outcome is Verdict.UNKNOWN:
        return None
    return _ScoredTrace(candidate.trace.trace_id, value, outcome is Verdict.CORRECT)


def _mean_value(label: Label) -> float | None:
    values = [step.value for step in label.steps if step.value is not None]
    return fmean(values) if values else None
