"""The folder from which the paths of plugin files in a run file start."""

from pathlib import Path

from storage.dataset.dataset import Dataset

__all__ = ["code_folder_of"]


def code_folder_of(run_file: Path) -> Path | None:
    """Return the folder of a run file; None if it may load no plugin files.

    A user who runs a run file chooses to execute the files that it names. A dataset is different:
    it is data, often from others, and its folder has a run file and could have code too.
    """
    path = run_file.resolve()
    # The last one is the root, which is not a location for a dataset.
    for folder in path.parents[:-1]:
        dataset = Dataset(str(folder))
        if any(dataset.shards(table) for table in dataset.tables()):
            return None
    return path.parent
