"""verl's dataset class for RL on `verl_critic`: all rows with their prompts and truths."""

from collections.abc import Iterator
from pathlib import Path

from tests.consumers.workspace import Attempt, Workspace, check_equal

__all__ = ["attempts"]


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the dataset class made of the rows."""
    made = workspace.run(python, "load_verl")
    rows = check_equal("verl_critic", made, workspace.rows("verl_critic"))
    yield Attempt("verl_critic", rows, "RLHFDataset: loaded, filtered and collated")
