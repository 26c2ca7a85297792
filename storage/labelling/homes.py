"""Where the labels of a dataset are written: into the dataset, or into a folder beside it."""

import os
from collections.abc import Mapping
from pathlib import Path

from stepmark.errors import ConfigError, DatasetError
from stepmark.identity import content_id
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, is_human, is_method

__all__ = ["JOURNALS", "SOURCE", "journal_path", "journals_of", "label_home"]

JOURNALS = "labelling"
"""The folder of the journals in the home of the labels."""
SOURCE = "source.txt"
"""In a folder beside the dataset: the location of the dataset."""
SUFFIX = ".jsonl"


def label_home(dataset: Dataset, folder: str = "") -> Dataset:
    """Return the dataset that labels are written into: a local one.

    Args:
        dataset: The dataset whose traces are labelled.
        folder: A folder for the labels; "" for the dataset itself if it is a local folder that
            this process may write to, otherwise for one in the state folder of the user.

    Raises:
        ConfigError: The folder has the labels of another dataset, or is a dataset of its own.
        DatasetError: The folder cannot be written to.
    """
    if not folder and _is_writable(dataset):
        return dataset
    location = _location(dataset)
    home = Dataset(folder or str(_state_folder() / content_id("labels", location)))
    if not home.folder.is_local:
        raise ConfigError(f"--labels {folder}: name a folder of this machine")
    if dataset.folder.is_local and str(Path(home.folder.root).resolve()) == location:
        return dataset
    if home.shards(TRACES):
        raise ConfigError(f"--labels {folder}: there is another dataset in this folder")
    home.check_writable()
    _check_source(home, location)
    return home


def journals_of(home: Dataset) -> Mapping[str, Path]:
    """Return the journals in a local dataset, by method."""
    paths = dict[str, Path]()
    for name in home.folder.files(JOURNALS):
        method = name.removesuffix(SUFFIX)
        if name.endswith(SUFFIX) and is_method(method) and is_human(method):
            paths[method] = journal_path(home, method)
    return paths


def journal_path(home: Dataset, method: str) -> Path:
    """Return the path of the journal of a method in a local dataset."""
    return Path(home.folder.root, JOURNALS, f"{method}{SUFFIX}")


def _is_writable(dataset: Dataset) -> bool:
    if not dataset.folder.is_local:
        return False
    try:
        dataset.check_writable()
    except DatasetError:
        return False
    return True


def _location(dataset: Dataset) -> str:
    """Return the location of a dataset: equal for all paths that lead to one local folder."""
    if dataset.folder.is_local:
        return str(Path(dataset.folder.root).resolve())
    return dataset.folder.location("").rstrip("/")


def _state_folder() -> Path:
    configured = os.environ.get("XDG_STATE_HOME", "")
    # The specification ignores relative paths.
    if Path(configured).is_absolute():
        return Path(configured, "stepmark", "labels")
    return Path.home() / ".local" / "state" / "stepmark" / "labels"


def _check_source(home: Dataset, location: str) -> None:
    """Check that a folder has no labels of another dataset, and note whose labels it has."""
    if not home.folder.has(SOURCE):
        with home.folder.writing(SOURCE) as file:
            file.write(location.encode("utf-8"))
        return
    with home.folder.reading(SOURCE) as file:
        # An editor ends the line.
        source = file.read().decode("utf-8", "replace").rstrip("\r\n")
    if source != location:
        raise ConfigError(
            f"{home.uri} has labels of {source}: name another folder with --labels; if that dataset"
            f" was moved here, write its new location, {location}, into {SOURCE} of the folder"
        )
