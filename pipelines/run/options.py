"""Options of one run, which the command line sets and the run file does not contain."""

from dataclasses import dataclass

from storage.dataset.slices import Slice

__all__ = ["RunOptions"]


@dataclass(frozen=True)
class RunOptions:
    """Options of one run. No result depends on them."""

    recompute: bool = False
    """Whether traces may be replaced by other ones."""
    retry_failed: bool = False
    """Whether to repeat failures and unknown results that have a temporary cause."""
    shows_progress: bool = True
    """Whether to show the progress on standard error."""
    json_progress: bool = False
    """Whether to write the progress as lines of JSON."""
    workers: int | None = None
    """The number of processes that make shards; None for the number in the run file."""
    shards: str = ""
    """The slice of the shards that this process makes, such as "0/8"; empty for all shards."""

    @property
    def slice(self) -> Slice | None:
        """The slice of the shards that this process makes; None for all shards."""
        return Slice.parse(self.shards) if self.shards else None
