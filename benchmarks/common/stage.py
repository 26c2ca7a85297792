"""A stage of a run as the work that is timed."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.run.job import Job
from stepmark.records import Problem, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, TRACES

__all__ = ["GENERATION", "Stage"]

GENERATION = "generation"
# The row fingerprint of the input parts. The timed stages do not compare it.
FINGERPRINT = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage over one shard: generation of traces, or one method on all traces."""

    name: str
    """`GENERATION` or the id of a method."""
    problems: Sequence[Problem]
    traces: Sequence[Trace] = ()
    """The input of a method; empty for generation."""
    in_flight: int
    """How many traces are written, or have rollouts sampled, concurrently."""

    def write_inputs(self, dataset: Dataset) -> None:
        """Write the problems and traces, after which the dataset is ready for this stage."""
        dataset.write_part(PROBLEMS, 0, self.problems, FINGERPRINT)
        if self.traces:
            dataset.write_part(TRACES, 0, self.traces, FINGERPRINT)

    async def run(self, job: Job) -> None:
        """Run the whole stage, including grading and writing the rows."""
        if self.name == GENERATION:
            await job.make_traces(0)
        else:
            await job.make_annotations(0, self.name)
