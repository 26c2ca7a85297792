"""The figures of the overview, each with the selection of the traces that it counts.

The measures are those of `stepmark score`: a prediction is exact if it is the gold first error, F1
is the harmonic mean of the accuracies on traces with and without an error, and the reliability has
ten bins. Agreement is Cohen's kappa over the first errors of traces that both methods decide.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from stepmark.records import NO_ERROR
from storage.dataset.tables import ORACLE, is_human
from storage.queries.shard_summary import MethodTotals
from storage.queries.trace_summary import TraceSummary
from viewer.selection import LABEL, column, has_verdict

__all__ = [
    "Agreement",
    "Bar",
    "Bin",
    "Figures",
    "MethodRow",
    "default_source",
    "figures",
    "gold_methods",
]

# First errors from this index are one bar: traces can have hundreds of steps.
MAX_INDEX = 15
# Only the most frequent reasons have a bar: each filter and each error can add some.
MAX_BARS = 12
# 66 pairs, each a query over all traces.
MAX_MATRIX_METHODS = 12
# As in the scores of `stepmark score`, which the reliability diagram must agree with.
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    name: str
    count: int
    share: float
    """The length of the bar, where the longest one has 1."""
    query: str
    """The selection of the traces, as the query of an address."""
    tone: str = ""
    """The verdict that decides the colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement of two sources of first errors."""

    first: str
    second: str
    traces: int
    """The traces that both decide."""
    agreed: int
    kappa: float | None
    """Cohen's kappa; None if both always give the same single answer, or decide no trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The traces whose confidence is in one tenth of [0, 1]."""

    low: float
    traces: int
    confidence: float
    accuracy: float
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """What one method, or the label, says and costs."""

    name: str
    traces: int
    decided: int
    errors: int
    totals: MethodTotals | None
    """None for the label, which costs nothing."""
    gold: int = 0
    """The decided traces with a gold first error."""
    exact: int = 0
    """Those whose first error is the gold one."""
    f1: float | None = None
    reliability: Sequence[Bin] = ()

    @property
    def facets(self) -> Mapping[str, str]:
        """The facets that select the traces of the row: only kept labels are counted."""
        if self.name == LABEL:
            return {"kept": "yes"}
        return {}

    @property
    def calibration_error(self) -> float | None:
        """The mean distance of accuracy and confidence over the traces."""
        traces = sum(item.traces for item in self.reliability)
        if not traces:
            return None
        distances = [
            item.traces * abs(item.accuracy - item.confidence) for item in self.reliability
        ]
        return sum(distances) / traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All figures of the overview."""

    traces: int
    discovered: int
    labelled: int
    kept: int
    flawed: int
    source: str
    """What the first errors are from: a method, or the label."""
    gold: str
    """The method that is the reference; "" if there is none."""
    outcomes: Sequence[Bar]
    reasons: Sequence[Bar]
    first_errors: Sequence[Bar]
    positions: Sequence[Bar]
    sources: Sequence[str]
    """The rows and columns of the matrix of agreement."""
    agreements: Mapping[tuple[str, str], Agreement]
    methods: Sequence[MethodRow]


def gold_methods(summary: TraceSummary) -> Sequence[str]:
    """Return the methods that can be the reference: those of people, and the oracle."""
    return [method for method in summary.methods if is_human(method) or method == ORACLE]


def default_source(summary: TraceSummary) -> str:
    """Return what the first errors of the overview are from, if none is chosen."""
    has_labels = summary.rows("SELECT count(kept) FROM summary")[0][0]
    if has_labels or not summary.methods:
        return LABEL
    return summary.methods[0]


def figures(summary: TraceSummary, *, source: str = LABEL, gold: str = "") -> Figures:
    """Return the figures of a dataset.

    Args:
        summary: The traces.
        source: What the distribution of first errors is from.
        gold: The reference of the label quality; "" for none.

    Raises:
        ConfigError: The dataset has no annotations of a method.
    """
    traces, discovered, labelled, kept, flawed = summary.rows(
        "SELECT count(*), count(found_by), count(kept), count(*) FILTER (kept),"
        " count(*) FILTER (outcome = 'correct' AND first_error >= 0) FROM summary"
    )[0]
    sources = [*summary.methods]
    if labelled:
        sources.append(LABEL)
    outcomes = summary.rows("SELECT outcome, count(*) FROM summary GROUP BY 1 ORDER BY 2 DESC, 1")
    reasons = summary.rows(
        "SELECT reason_kind, count(*) FROM summary WHERE NOT kept GROUP BY 1 ORDER BY 2 DESC, 1"
        f" LIMIT {MAX_BARS}"
    )
    return Figures(
        traces=traces,
        discovered=discovered,
        labelled=labelled,
        kept=kept,
        flawed=flawed,
        source=source,
        gold=gold,
        outcomes=_bars(
            [(name, count, {"outcome": name}, name) for name, count in outcomes],
        ),
        reasons=_bars([(name, count, {"reason": name}, "") for name, count in reasons]),
        first_errors=_first_errors(summary, source),
        positions=_positions(summary, source),
        sources=sources[-MAX_MATRIX_METHODS:],
        agreements=_agreements(summary, sources[-MAX_MATRIX_METHODS:]),
        methods=[_method_row(summary, name, gold) for name in sources],
    )


def _bars(entries: Sequence[tuple[str, int, Mapping[str, str], str]]) -> Sequence[Bar]:
    """Return bars of entries: name, count, selection and tone."""
    # At least 1, for charts whose bars are all empty.
    longest = max([1, *(count for _, count, _, _ in entries)])
    bars = []
    for name, count, selection, tone in entries:
        bars.append(
            Bar(
                name=name,
                count=count,
                share=count / longest,
                query=urlencode(selection),
                tone=tone,
            )
        )
    return bars


def _first_errors(summary: TraceSummary, source: str) -> Sequence[Bar]:
    """Return one bar for each index of the first error, counted from 1 as people do."""
    first_error = column(source, "first_error", summary)
    rows = summary.rows(
        f"SELECT least({first_error}, {MAX_INDEX}) AS step, count(*) FROM summary"
        f" WHERE {first_error} IS NOT NULL GROUP BY 1"
    )
    counts = dict(rows)
    entries = []
    if counts.get(NO_ERROR):
        selection = {"verdict": f"{source}:none"}
        entries.append(("no error", counts[NO_ERROR], selection, "correct"))
    last = max(counts, default=NO_ERROR)
    for index in range(last + 1):
        name = f"step {index + 1}"
        indices = str(index)
        if index == MAX_INDEX:
            name += " or later"
            indices += "-"
        selection = {"error_at": f"{source}:{indices}"}
        entries.append((name, counts.get(index, 0), selection, "incorrect"))
    return _bars(entries)


def _positions(summary: TraceSummary, source: str) -> Sequence[Bar]:
    """Return one bar for each tenth of the solution that the first error is in."""
    first_error = column(source, "first_error", summary)
    # A damaged dataset can have an index outside the trace, and of any size.
    rows = summary.rows(
        f"SELECT floor(10 * {first_error}::DOUBLE / steps)::INTEGER AS tenth, count(*)"
        f" FROM summary WHERE {first_error} >= 0 AND {first_error} < steps GROUP BY 1"
    )
    counts = dict(rows)
    if not counts:
        return []
    entries = []
    for tenth in range(10):
        name = f"{10 * tenth}–{10 * tenth + 10} %"
        selection = {"position": f"{source}:{tenth}"}
        entries.append((name, counts.get(tenth, 0), selection, "incorrect"))
    return _bars(entries)


def _agreements(
    summary: TraceSummary, sources: Sequence[str]
) -> Mapping[tuple[str, str], Agreement]:
    """Return the agreement of each pair, in both orders."""
    agreements = dict[tuple[str, str], Agreement]()
    for index, first in enumerate(sources):
        for second in sources[index + 1 :]:
            agreement = _agreement(summary, first, second)
            agreements[first, second] = agreement
            agreements[second, first] = agreement
    return agreements


def _agreement(summary: TraceSummary, first: str, second: str) -> Agreement:
    left = column(first, "first_error", summary)
    right = column(second, "first_error", summary)
    rows = summary.rows(
        f"SELECT {left}, {right}, count(*) FROM summary"
        f" WHERE {left} IS NOT NULL AND {right} IS NOT NULL GROUP BY 1, 2"
    )
    left_counts = Counter[int]()
    right_counts = Counter[int]()
    traces = 0
    agreed = 0
    for left_error, right_error, count in rows:
        left_counts[left_error] += count
        right_counts[right_error] += count
        traces += count
        if left_error == right_error:
            agreed += count
    kappa: float | None = None
    if traces:
        chance = sum(left_counts[value] * right_counts[value] for value in left_counts)
        expected = chance / traces**2
        # Two methods with one and the same answer agree by chance alone.
        if expected < 1:
            kappa = (agreed / traces - expected) / (1 - expected)
    return Agreement(first=first, second=second, traces=traces, agreed=agreed, kappa=kappa)


def _method_row(summary: TraceSummary, name: str, gold: str) -> MethodRow:
    predicted = column(name, "first_error", summary)
    # Only kept labels are a prediction: the others train nothing.
    if name == LABEL:
        predicted = f"CASE WHEN kept THEN {predicted} END"
    present = has_verdict(name, summary)
    traces, decided, errors = summary.rows(
        f"SELECT count(*) FILTER ({present}), count({predicted}),"
        f" count(*) FILTER ({predicted} >= 0) FROM summary"
    )[0]
    measures: Mapping[str, Any] = {}
    if gold and gold != name:
        measures = _quality(summary, name, predicted, column(gold, "first_error", summary), gold)
    return MethodRow(
        name=name,
        traces=traces,
        decided=decided,
        errors=errors,
        totals=summary.totals.get(name),
        **measures,
    )


def _quality(
    summary: TraceSummary, name: str, predicted: str, truth: str, gold: str
) -> Mapping[str, Any]:
    """Return the measures of a method against the gold first errors."""
    present = has_verdict(name, summary)
    decided, exact, wrong, wrong_hits, right, right_hits = summary.rows(
        f"SELECT count({predicted}), count(*) FILTER ({predicted} = {truth}),"
        f" count(*) FILTER ({truth} >= 0),"
        f" count(*) FILTER ({truth} >= 0 AND {predicted} = {truth}),"
        f" count(*) FILTER ({truth} < 0),"
        f" count(*) FILTER ({truth} < 0 AND {predicted} = {truth})"
        f" FROM summary WHERE {truth} IS NOT NULL AND {present}"
    )[0]
    f1: float | None = None
    if wrong and right:
        accuracy_wrong = wrong_hits / wrong
        accuracy_right = right_hits / right
        f1 = 0.0
        # The harmonic mean is not defined for two zeros.
        if accuracy_wrong + accuracy_right:
            f1 = 2 * accuracy_wrong * accuracy_right / (accuracy_wrong + accuracy_right)
    stated_error = column(name, "first_error", summary)
    confidence = column(name, "confidence", summary)
    bins = summary.rows(
        f"SELECT least(floor({BINS} * {confidence}), {BINS - 1})::INTEGER AS bin, count(*),"
        f" avg({confidence}),"
        f" avg(({stated_error} IS NOT DISTINCT FROM {truth})::INTEGER)"
        f" FROM summary WHERE {truth} IS NOT NULL AND {confidence} BETWEEN 0 AND 1"
        " GROUP BY 1 ORDER BY 1"
    )
    reliability = []
    for number, traces, mean, accuracy in bins:
        low = number / BINS
        bounds = f"{name}:{low:g}:{(number + 1) / BINS:g}"
        query = urlencode({"confidence": bounds, "decided_by": gold})
        reliability.append(
            Bin(low=low, traces=traces, confidence=mean, accuracy=accuracy, query=query)
        )
    return {"gold": decided, "exact": exact, "f1": f1, "reliability": reliability}
