"""Neighbouring steps merged into one, as more data to train on: hierarchical node compression.

HRM (Wang et al. 2025, arXiv 2503.13551) gives a pair of steps what the second one has, its value and its label: a slip that the next
step mends makes a good pair. Its code merges pairs of tree nodes at random; of a trace two coarser ones are enough for every pair of
neighbours to stand once: one merges the first with the second step, the third with the fourth and so on, the other begins with the second.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from stepmark.records import first_error_of
from storage.formats.base import Example

__all__ = ["coarser"]


def coarser(example: Example) -> Iterator[Example]:
    """The one or two traces in which pairs of neighbours are single steps; none where there are fewer than two steps."""
    count = len(example.trace.steps)
    for first in range(min(2, count - 1)):
        yield _merged(example, [0, *range(first, count, 2), count])


def _merged(example: Example, cuts: list[int]) -> Example:
    """The example with its steps taken together between the cuts; between two that are the same is nothing."""
    spans = [(start, end) for start, end in pairwise(cuts) if start < end]
    steps = tuple("".join(example.trace.steps[start:end]) for start, end in spans)
    labels = tuple(example.label.steps[end - 1] for _, end in spans)
    label = replace(
        example.label, steps=labels, first_error=first_error_of([step.label for step in labels])
    )
    return replace(example, trace=replace(example.trace, steps=steps), label=label)
