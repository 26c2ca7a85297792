"""The engines of a run by role, and the wrapper that meters one shard's requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from engines.base import Engine
from pipelines.run.token_budget import MeteredEngine, TokenBudget

__all__ = ["EnginePool"]


@dataclass(frozen=True, kw_only=True)
class EnginePool:
    """The engines of a run. A role is None if the run file has no table for it."""

    engine: Engine | None
    """Writes the traces and, by default, the rollouts."""
    judge_engine: Engine | None
    """Writes the replies of judges; the same object as `engine` unless it has its own table."""
    prover_engine: Engine | None
    """Writes the rollouts of the annotators that select it."""

    def rollout_engine(self, *, uses_prover: bool) -> Engine | None:
        """Return the engine that writes an annotator's rollouts."""
        return self.prover_engine if uses_prover else self.engine

    def distinct(self) -> Sequence[Engine]:
        """Return every engine once, although one engine may have two roles."""
        distinct = list[Engine]()
        for engine in (self.engine, self.judge_engine, self.prover_engine):
            # Compared by identity: two equal engines are two servers or processes.
            if engine is not None and all(engine is not other for other in distinct):
                distinct.append(engine)
        return distinct

    def metered(self, budget: TokenBudget, first_request: asyncio.Event) -> "EnginePool":
        """Return the pool as one shard uses it.

        Every request is counted in `budget`, and the first one sets `first_request`.
        """

        def wrap(engine: Engine | None) -> Engine | None:
            if engine is None:
                return None
            return MeteredEngine(engine=engine, budget=budget, first_request=first_request)

        return EnginePool(
            engine=wrap(self.engine),
            judge_engine=wrap(self.judge_engine),
            prover_engine=wrap(self.prover_engine),
        )

    async def close(self) -> None:
        """Close every engine once."""
        for engine in self.distinct():
            await engine.close()
