"""The stages of a run: each makes complete parts and skips those that exist already.

    problems -> traces -> annotations of every method (+ rollouts, critiques, discovered traces)
             -> oracle -> labels

`resume` decides what a rerun must still make: the parts on disk are the only record of progress.
Prefect runs and retries the stages (see `flow`). File I/O, oracles and labelers run in threads so
that they never block the event loop, which serves the engines and annotators.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.run import annotations, human_labels, oracle, problems, replacements, resume, traces
from pipelines.run.labelling import Labelling
from pipelines.run.run_context import RunContext
from storage.dataset.tables import LABELS

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job(RunContext):
    """A run and its stages as methods, so that each can become a Prefect task."""

    async def make_problems(self) -> Sequence[str]:
        """Write the problems and return the part key of each shard; see `problems`.

        Fails before anything is written if traces would be lost; see `replacements`.
        """
        return await problems.make_problems(self, partial(replacements.check_replacements, self))

    def target(self, problems_keys: Sequence[str]) -> str:
        """Return a comment that says what the traces are made from; see `replacements`."""
        return replacements.target(self, problems_keys)

    async def make_traces(self, shard: int) -> None:
        """Write the traces of a shard's problems; see `traces`."""
        await traces.make_traces(self, shard)

    async def make_annotations(self, shard: int, method: str) -> None:
        """Write a method's annotations of a shard; see `annotations`."""
        await annotations.make_annotations(self, shard, method)

    async def make_oracle(self, shard: int) -> None:
        """Write the true verdicts of a shard's steps; see `oracle`."""
        await oracle.make_oracle(self, shard)

    @property
    def labelling(self) -> Labelling:
        """The labelling stage."""
        return Labelling(self)

    def remove_other_shards(self, shards: Collection[int]) -> None:
        """Remove the parts of shards that this run does not have; see `resume`."""
        human_labels.set_aside_labels_of_other_shards(self, shards)
        resume.remove_other_shards(self, shards)

    def remove_labels(self) -> None:
        """Remove labels that an earlier run file asked for and this one does not."""
        for shard in self.dataset.shards(LABELS):
            self.dataset.remove_part(LABELS, shard)

    def restore_stale_labels(self) -> None:
        """Restore human labels that were set aside, where they fit; see `human_labels`."""
        human_labels.restore_stale_labels(self)
