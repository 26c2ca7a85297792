"""Balance: as many traces with a first error as without (so does OmegaPRM, arXiv 2406.06592)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from filters.base import Candidates
from stepmark.identity import digest
from stepmark.records import NO_ERROR

__all__ = ["Balance"]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Drop traces of the larger side until `negatives_per_positive` traces with a first error stand beside one without.

    Which ones go is drawn by the traces' ids, so that a larger dataset keeps most of what a smaller one kept. Where a side is empty,
    nothing of the other is left. Traces without a first error either way are not counted and stay.
    """

    negatives_per_positive: Annotated[float, Field(gt=0)] = 1.0

    version: ClassVar[int] = 1

    def drop(self, candidates: Candidates) -> Mapping[str, str]:
        """What the larger side has too many of."""
        positives, negatives = list[str](), list[str]()
        for candidate in candidates():
            if candidate.label.first_error is not None:
                side = positives if candidate.label.first_error == NO_ERROR else negatives
                side.append(candidate.trace.trace_id)
        wanted = round(len(positives) * self.negatives_per_positive)
        if len(negatives) > wanted:
            return _beyond(
                wanted, negatives, f"with a first error, beside {len(positives)} without"
            )
        return _beyond(
            round(len(negatives) / self.negatives_per_positive),
            positives,
            f"without error, beside {len(negatives)} with one",
        )


def _beyond(wanted: int, side: list[str], told: str) -> Mapping[str, str]:
    drawn = sorted(side, key=lambda trace_id: digest("balance", trace_id))
    return dict.fromkeys(drawn[wanted:], f"{min(wanted, len(side))} of {len(side)} stay {told}")
