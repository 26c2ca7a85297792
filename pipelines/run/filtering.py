"""Filters at work on a dataset: in the order of the run file, each over what those before it kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from filters.base import Candidate, Filter
from stepmark.records import Label, StepLabel

__all__ = ["dropped_by", "without"]


def dropped_by(
    filters: Sequence[Filter], candidates: Callable[[], Iterable[Candidate]]
) -> Mapping[str, str]:
    """By trace id, the filter that drops the trace and why; `candidates` may have labels that are not kept, which no filter sees."""
    dropped = dict[str, str]()

    def left() -> Iterator[Candidate]:
        return (
            each for each in candidates() if each.label.kept and each.trace.trace_id not in dropped
        )

    for each in filters:
        name = type(each).__module__.rpartition(".")[2]
        reasons = each.drop(left)
        dropped.update((trace_id, f"{name}: {reason}") for trace_id, reason in reasons.items())
    return dropped


def without(label: Label, reason: str | None) -> Label:
    """The label as a filter leaves it. A dropped one trains nothing; its first error, values and confidence still tell what was dropped."""
    if reason is None:
        return label
    return replace(
        label,
        kept=False,
        reason=reason,
        steps=tuple(StepLabel(value=step.value) for step in label.steps),
    )
