"""Merge neighbouring steps as data augmentation: hierarchical node compression.

HRM (Wang et al. 2025, arXiv 2503.13551) gives a merged pair of steps the value and label of its
second step: an error that the next step corrects makes a correct pair. Its code merges random pairs
of tree nodes. Here two coarser traces contain every pair of neighbours once: one merges steps 1 and
2, 3 and 4 and so on, the other begins with steps 2 and 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from stepmark.records import first_error_of
from storage.formats.base import Example

__all__ = ["merged_examples"]


def merged_examples(example: Example) -> Iterator[Example]:
    """Yield one or two examples with merged pairs of steps; none for fewer than two steps."""
    count = len(example.trace.steps)
    # Two steps are one pair: a second trace would be the same as the example.
    for first in range(min(2, count - 1)):
        yield _merge(example, [0, *range(first, count, 2), count])


def _merge(example: Example, cuts: Sequence[int]) -> Example:
    """Join the steps between two consecutive cuts to one step; equal cuts are ignored."""
    spans = [(start, end) for start, end in pairwise(cuts) if start < end]
    steps = tuple("".join(example.trace.steps[start:end]) for start, end in spans)
    step_labels = tuple(example.label.steps[end - 1] for _, end in spans)
    first_error = first_error_of([step.label for step in step_labels])
    return replace(
        example,
        trace=replace(example.trace, steps=steps),
        label=replace(example.label, steps=step_labels, first_error=first_error),
        # The rating of a merged step is not known.
        neutral_steps=(),
    )
