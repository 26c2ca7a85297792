"""Parts with labels of people: rows are added to them, and no other row is lost."""

from collections.abc import Sequence

from stepmark.identity import digest
from stepmark.records import Annotation
from storage.dataset.dataset import Dataset
from storage.dataset.tables import Table

__all__ = ["add_labels", "read_labels"]


def read_labels(dataset: Dataset, table: Table[Annotation], shard: int) -> dict[str, Annotation]:
    """Return the labels of a part by trace id; none if there is no part.

    Raises:
        DatasetError: The part is damaged: it can contain labels that exist nowhere else.
    """
    rows = dict[str, Annotation]()
    if shard in dataset.shards(table):
        for label in dataset.read_part(table, shard):
            rows[label.trace_id] = label
    return rows


def add_labels(
    dataset: Dataset, table: Table[Annotation], shard: int, added: Sequence[Annotation]
) -> None:
    """Add labels to a part, where they replace those of the same traces.

    The caller must hold the writer lock.

    Raises:
        DatasetError: As for `read_labels`.
    """
    rows = read_labels(dataset, table, shard)
    for label in added:
        rows[label.trace_id] = label
    # A run recognizes the parts of people by their method, never by their key, which stays.
    footer = dataset.footer(table, shard)
    part_key = digest("human labels") if footer is None else footer.part_key
    dataset.write_part(table, shard, rows.values(), part_key)
