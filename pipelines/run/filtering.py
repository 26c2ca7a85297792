"""Filters applied to the labels of a dataset, in the order of the run file."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from filters.base import Candidate, Filter
from stepmark import plugins
from stepmark.records import Label, StepLabel

__all__ = ["drop_reasons", "filter_name", "mark_dropped"]


def drop_reasons(
    filters: Sequence[Filter], candidates: Callable[[], Iterable[Candidate]]
) -> Mapping[str, str]:
    """Return why filters drop traces, by trace id: "filter: reason".

    Each filter sees the kept traces that earlier filters have not dropped.

    Args:
        filters: The filters, in order.
        candidates: Iterates over all labelled traces; labels that are not kept are skipped.
    """
    reasons = dict[str, str]()

    def remaining() -> Iterator[Candidate]:
        for candidate in candidates():
            if candidate.label.kept and candidate.trace.trace_id not in reasons:
                yield candidate

    for item in filters:
        name = filter_name(item)
        for trace_id, reason in item.drop(remaining).items():
            # SQL splits the reason at the first ": ".
            reasons[trace_id] = f"{name}: {reason}"
    return reasons


def filter_name(item: Filter) -> str:
    """Return the id of a filter, which is the name in its reasons."""
    kind_and_id = plugins.kind_and_id_of(type(item))
    # A class that is no plugin, which only code can pass, is named by its module.
    return kind_and_id[1] if kind_and_id else type(item).__module__.rpartition(".")[2]


def mark_dropped(label: Label, reason: str | None) -> Label:
    """Return the label as not kept, for this reason; the same label if the reason is None.

    A dropped label has no step labels, so it trains nothing. Its first error, values and confidence
    stay, to show what was dropped.
    """
    if reason is None:
        return label
    steps = tuple(StepLabel(value=step.value) for step in label.steps)
    return replace(label, kept=False, reason=reason, steps=steps)
