"""What the stages of a run share: the plan, the dataset, the meter and the verifier workers."""

import asyncio
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self

from annotators.context import RunServices
from engines.base import Engine, ServersHealth
from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.batches import price_factor, price_factors
from pipelines.run.config import Budget
from pipelines.run.dataset_reader import DatasetReader
from pipelines.run.fingerprints import Fingerprints
from pipelines.run.graders import grade
from pipelines.run.meter import Meter
from pipelines.run.options import RunOptions
from pipelines.run.plan import Plan
from pipelines.run.spending import Spending
from pipelines.run.stored_engine import ShardCompletions, StoredEngine
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from pipelines.run.tracing import NO_TRACING, Tracing
from pipelines.run.transient import is_final
from stepmark.records import StoredCompletion
from storage.completions.files import list_files
from storage.completions.store import CompletionStore, ShardStore
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS
from verifiers.isolation.pool import VerifierPool

__all__ = ["RunContext"]


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """A plan that is executed on a dataset."""

    plan: Plan
    dataset: Dataset
    meter: Meter
    options: RunOptions = field(default_factory=RunOptions)
    workers: VerifierPool = field(default_factory=VerifierPool)
    """Grade answers and run verifiers, in processes that can be killed."""
    tracing: Tracing = NO_TRACING
    """The spans of OpenTelemetry, where they are exported."""
    human_labels_lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while human labels are read and written: the methods of a shard run concurrently."""

    store_lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the store is opened: the shards that start together open it once."""

    shard_completions: ShardCompletions | None = None
    """The stored completions of the shard whose stages are run; see `with_stored_engines`."""

    @cached_property
    def _store(self) -> CompletionStore:
        store = CompletionStore(
            self.dataset,
            flush_seconds=self.plan.run_file.shards.flush_seconds,
            ignore=_is_not_final if self.options.retry_failed else None,
            report=self.meter.add_damaged,
        )
        store.open()
        return store

    @property
    def store(self) -> CompletionStore:
        """The stored completions of the dataset; opening them reads the footers of all files."""
        with self.store_lock:
            return self._store

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

    @property
    def worker_count(self) -> int:
        """The number of processes that make shards."""
        return self.options.workers or self.plan.run_file.run.workers

    @property
    def spending(self) -> Spending:
        """What the run has used of its budget."""
        run_file = self.plan.run_file
        return Spending(
            budget=run_file.budget,
            prices=run_file.prices,
            meter=self.meter,
            price_factors=price_factors(self.plan.engines),
        )

    def servers(self) -> Mapping[str, ServersHealth]:
        """Return the servers by the name of the engine: of this process, or of its workers."""
        return {**self.plan.engines.servers(), **self.meter.servers()}

    def services(self, spec: AnnotatorSpec) -> RunServices:
        """Return the engines, grading and verifiers that an annotator uses."""
        seed = self.plan.run_file.seed
        return RunServices(
            seed=seed,
            engine=spec.engine,
            judges=spec.judges,
            solve_prompt=self.plan.solve_prompt,
            rollout_sampling=self.plan.sampling(n=1, seed=seed),
            split=self.plan.splitter,
            grade=partial(grade, self.workers, grader=self.plan.grader),
            verify=self.workers.verify,
        )

    def with_stored_engines(
        self, completions: ShardCompletions, budget: TokenBudget, first_request: asyncio.Event
    ) -> Self:
        """Return the same run with the engines that the stages of one shard use.

        A sample that is stored is not requested; requests are counted. Wrapping does not change an
        engine's identity, so fingerprints and part keys stay the same.
        """
        # Without a limit no request waits for its admission.
        spending = self.spending if self.plan.run_file.budget != Budget() else None

        def wrap(engine: Engine) -> Engine:
            metered = MeteredEngine(
                engine=engine,
                budget=budget,
                meter=self.meter,
                first_request=first_request,
                name=self.plan.engines.name_of(engine),
                spending=spending,
                batch_price_factor=price_factor(engine),
                tracing=self.tracing,
            )
            return StoredEngine(
                engine=metered,
                completions=completions,
                meter=self.meter,
                first_request=first_request,
            )

        plan = self.plan.with_engines(self.plan.engines.wrap(wrap))
        return replace(self, plan=plan, shard_completions=completions)

    async def flush_completions(self) -> None:
        """Write the completions of the shard that are only in memory, before a part that uses them.

        No stage requests the completions of a complete part again. If a kill lost them, the next
        grader or splitter would have to pay for them a second time.
        """
        if self.shard_completions is not None:
            await self.shard_completions.flush()

    def completions(self, shard: int) -> ShardCompletions:
        """Return the stored completions of the problems of a shard."""

        def open_shard() -> ShardStore:
            problems = self.dataset.read_part(PROBLEMS, shard)
            return self.store.shard(shard, [problem.problem_id for problem in problems])

        return ShardCompletions(open_shard)

    def uncompacted_shards(self) -> Collection[int]:
        """Return the shards that have stored completions in more than a compacted file."""
        return {file.shard for file in list_files(self.dataset.folder) if not file.is_part}

    async def close(self) -> None:
        """Stop the workers and the engines."""
        await self.workers.close()
        await self.plan.engines.close()
        await asyncio.to_thread(self.tracing.close)


def _is_not_final(completion: StoredCompletion) -> bool:
    return not is_final(completion.finish_reason)
