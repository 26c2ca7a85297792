"""Lists of names in capitals, as of points: `{A, B, D}` and `{A, B, C}` are different answers."""

from collections.abc import Iterable

from verifiers.math.syntax import Name


def have_different_labels(left: Iterable[object], right: Iterable[object]) -> bool:
    """Return whether two collections of names in capitals have some names in common only.

    The items are expressions or other forms. Collections without a common name may call the same
    things by different names.
    """
    labels = _labels(left)
    other_labels = _labels(right)
    return labels != other_labels and not labels.isdisjoint(other_labels)


def _labels(items: Iterable[object]) -> frozenset[str]:
    """Return the names of two or more items; nothing if an item is not a name in capitals."""
    labels = set[str]()
    for item in items:
        if type(item) is not Name or not item.text[:1].isupper():
            return frozenset()
        labels.add(item.text)
    return frozenset(labels) if len(labels) > 1 else frozenset()
