"""The batches of the engines of a run: where they are recorded, and what of them is open."""

import json
from collections.abc import Mapping, Sequence

from engines.base import Engine, SendsBatches
from pipelines.run.engine_pool import ENGINE, EnginePool
from pipelines.run.plan import Plan
from stepmark.errors import DatasetError
from storage.dataset.batch_files import BatchFiles
from storage.dataset.dataset import Dataset

__all__ = [
    "forget_batches",
    "open_batches",
    "price_factor",
    "price_factors",
    "price_factors_by_method",
    "record_batches",
]


def record_batches(engines: EnginePool, dataset: Dataset) -> None:
    """Let the engines that can send batches do so, and record them in the dataset."""
    records = BatchFiles(dataset.folder)
    for engine in _sending(engines):
        engine.record_batches(records)


async def forget_batches(engines: EnginePool) -> None:
    """Remove the records of batches whose answers are all stored."""
    for engine in _sending(engines):
        await engine.forget_batches()


def open_batches(dataset: Dataset) -> int:
    """Return the number of recorded batches that a provider may still work on."""
    records = BatchFiles(dataset.folder)
    count = 0
    try:
        for name in records.names():
            content = records.read(name) or b"{}"
            count += not json.loads(content).get("status")
    except (DatasetError, ValueError, AttributeError):
        # Only a message needs the number.
        return count
    return count


def price_factor(engine: Engine) -> float | None:
    """Return the price of a token in the batches of an engine; None if it sends none."""
    return engine.batch_price_factor if isinstance(engine, SendsBatches) else None


def price_factors(engines: EnginePool) -> Mapping[str, float]:
    """Return the price of a token as a part of the usual one, of engines that send batches."""
    factors = dict[str, float]()
    for name, engine in engines.items():
        factor = price_factor(engine)
        if factor is not None:
            factors[name] = factor
    return factors


def price_factors_by_method(plan: Plan) -> Mapping[str, float]:
    """Return the price of a token as a part of the usual one, by method; "" is that of traces."""
    factors_of_engines = price_factors(plan.engines)
    factors = {"": factors_of_engines.get(ENGINE, 1.0)}
    for name, spec in plan.annotators.items():
        used = [engine for engine in (spec.engine_name, *spec.judge_names) if engine is not None]
        engine_factors = [factors_of_engines.get(engine, 1.0) for engine in used]
        if engine_factors:
            # The judges of an ensemble get the same number of requests.
            factors[name] = sum(engine_factors) / len(engine_factors)
    return factors


def _sending(engines: EnginePool) -> Sequence[SendsBatches]:
    return [engine for engine in engines.distinct() if isinstance(engine, SendsBatches)]
