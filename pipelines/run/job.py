"""The stages of a run: each makes complete parts and skips those that exist already.

    problems -> traces -> annotations of every method (+ rollouts, critiques, discovered traces)
             -> oracle -> labels

`resume` decides what a rerun must still make: the parts on disk are the only record of progress.
Prefect runs and retries the stages (see `flow`). File I/O, oracles and labelers run in threads so
that they never block the event loop, which serves the engines and annotators.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.run import annotations, oracle, problems, resume, traces
from pipelines.run.labelling import Labelling
from pipelines.run.run_context import RunContext

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job(RunContext):
    """A run and its stages as methods, so that each can become a Prefect task."""

    async def make_problems(self) -> Mapping[int, str]:
        """Write the problems and return the part key of each shard; see `problems`."""
        return await problems.make_problems(self)

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

    async def check_engines(self, traces_keys: Mapping[int, str]) -> None:
        """Check the engines before their output is removed; see `resume`."""
        await resume.check_engines(self, traces_keys)

    def remove_stale_parts(self, traces_keys: Mapping[int, str]) -> None:
        """Remove parts that this run would write differently; see `resume`."""
        resume.remove_stale_parts(self, traces_keys)
