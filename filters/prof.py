"""PROF: of a problem's traces, keep those whose steps and answer speak the same way.

The PRocess cOnsistency Filter of Ye et al. 2025 ("Beyond Correctness", arXiv 2509.03403): right answers of a high mean step value and
wrong ones of a low one are kept, as many of the ones as of the others where there are enough. Of 5 right and 3 wrong answers, half
are kept by removing the 3 lowest right ones and the highest wrong one.
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

DIGITS = 9
"""To which a share of a count is exact: 0.7 of 10 is 7, not the 8 above 7.000000000000001."""


class _Scored(NamedTuple):
    trace_id: str
    value: float
    right: bool


@dataclass(frozen=True, kw_only=True)
class Prof:
    """Keep the share `keep` of every problem's traces, of these the share `right` with a right answer.

    Where one kind runs short the other fills up. A mean is of the steps that have a value. A trace of no step value, or whose outcome
    is unknown, is neither consistent nor inconsistent: it is not counted and stays.
    """

    keep: Share = 0.5
    right: Share = 0.5

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """The traces whose steps say other than their answers."""
        problems: dict[str, list[_Scored]] = defaultdict(list)
        for candidate in candidates():
            if (scored := _scored(candidate)) is not None:
                problems[candidate.problem.problem_id].append(scored)
        return {
            trace_id: reason
            for scored in problems.values()
            for trace_id, reason in self._of_problem(scored).items()
        }

    def _of_problem(self, scored: Sequence[_Scored]) -> Mapping[str, str]:
        right = sorted(
            (one for one in scored if one.right),
            key=lambda one: (-one.value, digest("prof", one.trace_id)),
        )
        wrong = sorted(
            (one for one in scored if not one.right),
            key=lambda one: (one.value, digest("prof", one.trace_id)),
        )
        kept = ceil(round(self.keep * len(scored), DIGITS))
        of_right = min(
            len(right), max(kept - len(wrong), floor(round(self.right * kept, DIGITS) + 0.5))
        )
        of_wrong = kept - of_right
        return {
            **{one.trace_id: _reason(one, of_right, len(right)) for one in right[of_right:]},
            **{one.trace_id: _reason(one, of_wrong, len(wrong)) for one in wrong[of_wrong:]},
        }


def _scored(candidate: Candidate) -> _Scored | None:
    value, outcome = _mean_value(candidate.label), candidate.trace.outcome
    if value is None or outcome is Verdict.UNKNOWN:
        return None
    return _Scored(candidate.trace.trace_id, value, outcome is Verdict.CORRECT)


def _mean_value(label: Label) -> float | None:
    values = [step.value for step in label.steps if step.value is not None]
    return fmean(values) if values else None


def _reason(one: _Scored, kept: int, among: int) -> str:
    kind, end = ("right", "highest") if one.right else ("wrong", "lowest")
    return f"mean step value {one.value:.3f}, not among the {kept} {end} of the problem's {among} {kind} answers"
