"""Balance: equal numbers of traces with and without an error (as in OmegaPRM, arXiv 2406.06592)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from filters.base import Candidates
from stepmark.identity import digest
from stepmark.records import NO_ERROR

__all__ = ["Balance"]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Drop traces of the class that is too large for the ratio `negatives_per_positive`.

    Negatives are traces with a first error, positives are traces without one. The dropped traces
    are selected by a hash of their ids, so a larger dataset keeps most of what a smaller one kept.
    If one class is empty, nothing of the other class is kept. Traces whose first error is undecided
    are not counted and are kept.
    """

    negatives_per_positive: Annotated[float, Field(gt=0)] = 1.0
    """The number of negative traces that are kept for each positive one."""

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """Return the reason for each surplus trace, by trace id."""
        positives: list[str] = []
        negatives: list[str] = []
        for candidate in candidates():
            first_error = candidate.label.first_error
            if first_error == NO_ERROR:
                positives.append(candidate.trace.trace_id)
            elif first_error is not None:
                negatives.append(candidate.trace.trace_id)
        max_negatives = round(len(positives) * self.negatives_per_positive)
        if len(negatives) > max_negatives:
            reason = (
                f"{max_negatives} of {len(negatives)} traces with a first error are kept, "
                f"because {len(positives)} have none"
            )
            return _surplus(negatives, max_negatives, reason)
        max_positives = round(len(negatives) / self.negatives_per_positive)
        reason = (
            f"{max_positives} of {len(positives)} traces without an error are kept, "
            f"because {len(negatives)} have one"
        )
        return _surplus(positives, max_positives, reason)


def _surplus(trace_ids: Sequence[str], max_kept: int, reason: str) -> Mapping[str, str]:
    """Return the reason for each trace beyond `max_kept`, in the order of their hashes."""
    by_hash = sorted(trace_ids, key=lambda trace_id: digest("balance", trace_id))
    return dict.fromkeys(by_hash[max_kept:], reason)
