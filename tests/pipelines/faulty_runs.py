"""Runs on fake servers with faults, and their rows without what faults may change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.base import Prompt
from engines.openai import OpenAI
from pipelines.run.engine_pool import ENGINE, EnginePool
from pipelines.run.job import Job
from pipelines.run.options import RunOptions
from stepmark.records import Annotation, Cost, Sampling
from storage.dataset.dataset import Dataset
from tests.engines.faulty_server import FaultyModel, serving_faulty
from tests.pipelines.simulated import Model, job_in, run
from verifiers.isolation.pool import VerifierPool

__all__ = ["Rows", "rows_of", "run_at", "served"]

# A hanging request is given up after this time. An answer takes milliseconds.
TIMEOUT_SECONDS = 2.0

Rows = Mapping[str, Sequence[Any]]
"""The rows of each table, by the name of its folder."""


def served(model: Model, **fields: Any) -> FaultyModel:
    """Return the simulated model behind a chat server with faults."""

    def texts(request: Mapping[str, Any]) -> Sequence[str]:
        turns = {message["role"]: message["content"] for message in request["messages"]}
        prompt = Prompt(
            user=turns["user"],
            prefix=turns.get("assistant", ""),
            system=turns.get("system", ""),
        )
        sampling = Sampling(n=request["n"], seed=request["seed"])
        return [str(model.respond(prompt, sampling, index)) for index in range(sampling.n)]

    return FaultyModel(texts=texts, **fields)


async def run_at(
    folder: Path,
    workers: VerifierPool,
    models: Sequence[FaultyModel],
    *,
    retry_failed: bool = False,
    **fields: Any,
) -> Job:
    """Run all stages on servers, and return the job.

    Args:
        folder: The folder of the dataset.
        workers: The pool of verifier workers.
        models: The model behind each server.
        retry_failed: Whether rows that are stored as failures are made again.
        **fields: Fields of the engine.
    """
    async with serving_faulty(*models) as servers:
        options = RunOptions(recompute=True, retry_failed=retry_failed)
        job = job_in(folder, workers, Model(), options)
        engine = OpenAI(
            model="m",
            base_urls=tuple(server.url for server in servers),
            trust_continuation=True,
            timeout=TIMEOUT_SECONDS,
            **fields,
        )
        job = replace(job, plan=job.plan.with_engines(EnginePool({ENGINE: engine})))
        try:
            await run(job)
        finally:
            await job.plan.engines.close()
    return job


def rows_of(folder: Path) -> Rows:
    """Return the rows of all tables, without times and counts of tokens, which faults change."""
    dataset = Dataset(str(folder))
    tables: dict[str, Sequence[Any]] = {}
    for table in dataset.tables():
        rows: list[Any] = []
        for row in dataset.read(table):
            if isinstance(row, Annotation):
                rows.append(replace(row, cost=Cost(rollouts=row.cost.rollouts)))
            elif hasattr(row, "generated_tokens"):
                rows.append(replace(row, prompt_tokens=0, cached_tokens=0, generated_tokens=0))
            else:
                rows.append(row)
        tables[table.folder] = rows
    return tables
