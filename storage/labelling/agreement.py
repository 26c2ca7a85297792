"""Agreement of raters on the first errors of traces."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["PairAgreement", "cohen_kappa", "disagreements", "krippendorff_alpha", "pair_agreements"]

FirstErrors = Mapping[str, Mapping[str, int]]
"""The decided first errors by method and trace id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """The agreement of two raters."""

    first: str
    second: str
    traces: int
    """The number of traces that both decide."""
    agreed: int
    kappa: float | None
    """Cohen's κ; None if it is not defined."""


def pair_agreements(first_errors: FirstErrors) -> Sequence[PairAgreement]:
    """Return the agreement of each pair of raters that decide at least one trace in common."""
    pairs = list[PairAgreement]()
    for first, second in combinations(sorted(first_errors), 2):
        left = first_errors[first]
        right = first_errors[second]
        common = [(left[trace_id], right[trace_id]) for trace_id in left.keys() & right.keys()]
        if common:
            pairs.append(
                PairAgreement(
                    first=first,
                    second=second,
                    traces=len(common),
                    agreed=sum(one == other for one, other in common),
                    kappa=cohen_kappa(common),
                )
            )
    return pairs


def cohen_kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Return Cohen's κ of two raters (Cohen 1960, Educ. Psychol. Meas. 20:37).

    Args:
        pairs: What the two raters say about each trace that both decide.

    Returns:
        κ, at most 1; None without pairs, and if both raters always give one and the same answer,
        which then is what chance expects.
    """
    if not pairs:
        return None
    left = Counter(one for one, _ in pairs)
    right = Counter(other for _, other in pairs)
    observed = sum(one == other for one, other in pairs) / len(pairs)
    expected = sum(count * right[value] for value, count in left.items()) / len(pairs) ** 2
    if expected == 1:
        return None
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Iterable[Sequence[int]]) -> float | None:
    """Return Krippendorff's α for nominal values (Krippendorff 2011, Computing Krippendorff's α).

    Args:
        units: For each trace, what the raters say who decide it, in any order. Traces with fewer
            than two values do not count.

    Returns:
        α, at most 1; None without a trace with two values, and if all values are the same.
    """
    totals = Counter[int]()
    disagreement = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        counts = Counter(unit)
        totals.update(counts)
        agreeing_pairs = sum(count * (count - 1) for count in counts.values())
        disagreement += len(unit) - agreeing_pairs / (len(unit) - 1)
    values = totals.total()
    # Pairs of different values among all values of all traces.
    expected = values**2 - sum(count**2 for count in totals.values())
    if not expected:
        return None
    return 1 - (values - 1) * disagreement / expected


def disagreements(answers: Mapping[str, Mapping[str, int | str]]) -> Sequence[str]:
    """Return the traces about which two raters say different things, sorted by id.

    Args:
        answers: By method and trace id, what each rater says who is not unsure.
    """
    values = dict[str, set[int | str]]()
    for by_trace in answers.values():
        for trace_id, answer in by_trace.items():
            values.setdefault(trace_id, set()).add(answer)
    return sorted(trace_id for trace_id, different in values.items() if len(different) > 1)
