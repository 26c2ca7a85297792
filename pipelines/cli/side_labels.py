"""Open labels by hand that are stored outside a dataset, and report those that are not used."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepmark.visible_text import visible

if TYPE_CHECKING:
    from storage.dataset.dataset import Dataset
    from storage.labelling.side_labels import SideLabels

__all__ = ["reported_side_labels"]


def reported_side_labels(folder: str, dataset: "Dataset", method: str) -> "SideLabels | None":
    """Open the labels in a folder, and print to standard error how many of them are used.

    Returns None without a folder.

    Args:
        folder: The folder; "" for none.
        dataset: The dataset with the traces.
        method: The method whose labels are used; `human` for those of all people.

    Raises:
        ConfigError: The folder has no labels.
        DatasetError: A part or a journal is damaged.
    """
    from storage.dataset.tables import HUMAN
    from storage.labelling.side_labels import open_side_labels

    if not folder:
        return None
    side_labels = open_side_labels(folder, dataset)
    lines = list[str](side_labels.faults())
    for rater_method in side_labels.methods():
        if method in (HUMAN, rater_method):
            lines.append(f"labels of {rater_method}: {side_labels.fitted(rater_method).describe()}")
    _print(lines)
    return side_labels


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(visible(line), file=sys.stderr)  # noqa: T201
