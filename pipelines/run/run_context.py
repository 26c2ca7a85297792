"""What the stages of a run share: the plan, the dataset, the meter and the verifier workers."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self

from annotators.context import RunServices
from pipelines.run.dataset_reader import DatasetReader
from pipelines.run.fingerprints import Fingerprints
from pipelines.run.graders import grade, grader_of
from pipelines.run.meter import Meter
from pipelines.run.plan import AnnotatorSpec, Plan
from pipelines.run.token_budget import TokenBudget
from storage.dataset.dataset import Dataset
from verifiers.isolation.pool import VerifierPool

__all__ = ["RunContext"]


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """A plan that is executed on a dataset."""

    plan: Plan
    dataset: Dataset
    meter: Meter
    workers: VerifierPool = field(default_factory=VerifierPool)
    """Grade answers and run verifiers, in processes that can be killed."""

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """The row fingerprints and part keys of the plan."""
        return Fingerprints(self.plan)

    @property
    def reader(self) -> DatasetReader:
        """The reader of what earlier stages wrote."""
        return DatasetReader(
            dataset=self.dataset, discovering_methods=self.plan.discovering_methods
        )

    def services(self, spec: AnnotatorSpec) -> RunServices:
        """Return the engines, grading and verifiers that an annotator uses."""
        seed = self.plan.run_file.seed
        engines = self.plan.engines
        return RunServices(
            seed=seed,
            engine=engines.rollout_engine(uses_prover=spec.uses_prover),
            judge_engine=engines.judge_engine,
            solve_prompt=self.plan.solve_prompt,
            rollout_sampling=self.plan.sampling(n=1, seed=seed),
            grade=partial(grade, self.workers, grader=grader_of(self.plan.run_file)),
            verify=self.workers.verify,
        )

    def metered(self, budget: TokenBudget, first_request: asyncio.Event) -> Self:
        """Return the same run with metered engines, for the stages of one shard.

        See `EnginePool.metered`. Metering does not change an engine's identity, so fingerprints and
        part keys stay the same.
        """
        engines = self.plan.engines.metered(budget, first_request)
        return replace(self, plan=self.plan.with_engines(engines))

    async def close(self) -> None:
        """Stop the workers and the engines."""
        await self.workers.close()
        await self.plan.engines.close()
