"""Runs on a fleet of fake servers with faults of every kind, compared with an undisturbed run.

`make torture` runs it with 1,000 faults: `python -m tests.pipelines.fault_torture --faults 1000`.
"""

import argparse
import asyncio
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.console import print_json, print_progress
from engines.runtime import backoff
from stepmark.errors import EngineWarning
from storage.dataset.dataset import Dataset
from tests.engines.faulty_server import FAULTS, FaultyModel
from tests.pipelines.faulty_runs import Rows, rows_of, run_at, served
from tests.pipelines.simulated import Model
from verifiers.isolation.pool import VerifierPool

__all__ = ["FaultResult", "FaultSettings", "main", "run_with_faults"]

SERVERS = 3
# Faults come in so many orders: everywhere, at the beginning, or at one server alone.
ORDERS = 3
# The share of requests that fail everywhere, or at one server alone.
SHARE = 0.2
SICK_SHARE = 0.6
# So many requests fail at the beginning, some of them twice.
FIRST = 24
# Repeated requests wait for a fiftieth of the usual time.
FIRST_WAIT_SECONDS = 0.01
# A run has about 100 requests: 20 faults. A run that never counts any must not go on for ever.
MOST_RUNS = 500


@dataclass(frozen=True, kw_only=True)
class FaultSettings:
    """How many faults there are, and the seed of the first run; each further run has the next."""

    faults: int
    seed: int
    fewest_of_a_kind: int = 1
    """Runs go on until every kind of fault has happened so often."""


@dataclass(kw_only=True)
class FaultResult:
    """The faults that happened, and what they changed."""

    runs: int = 0
    runs_with_failed_rows: int = 0
    """Runs after which `--retry-failed` had something to do."""
    faults: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def to_dict(self) -> Mapping[str, Any]:
        """Return the result as a table of plain values."""
        return {
            "runs": self.runs,
            "runs_with_failed_rows": self.runs_with_failed_rows,
            "faults": self.faults.total(),
            "kinds": len(self.faults),
            "fewest_of_a_kind": min((self.faults[kind] for kind in FAULTS), default=0),
            "errors": self.errors,
        }


def run_with_faults(settings: FaultSettings) -> FaultResult:
    """Run on faulty servers until there were enough faults, and compare the tables of each run."""
    first_wait = backoff.FIRST_WAIT_SECONDS
    backoff.FIRST_WAIT_SECONDS = FIRST_WAIT_SECONDS
    try:
        with warnings.catch_warnings():
            # Every faulty server causes warnings, in an order that depends on the machine's load.
            warnings.simplefilter("ignore", EngineWarning)
            return asyncio.run(_run_until_enough(settings))
    finally:
        backoff.FIRST_WAIT_SECONDS = first_wait


async def _run_until_enough(settings: FaultSettings) -> FaultResult:
    result = FaultResult()
    with tempfile.TemporaryDirectory(prefix="stepmark-torture-") as temporary:
        async with VerifierPool(workers=1) as workers:
            calm = Path(temporary, "undisturbed")
            await run_at(calm, workers, [served(Model())])
            expected = rows_of(calm)
            while not _is_enough(settings, result):
                seed = settings.seed + result.runs
                models = _models(seed)
                folder = Path(temporary, str(seed))
                try:
                    await run_at(folder, workers, models)
                    if _failed_rows(folder):
                        # All servers rejected one request. That is stored as a failure, which the
                        # option for it requests again.
                        result.runs_with_failed_rows += 1
                        await run_at(folder, workers, [served(Model())], retry_failed=True)
                except Exception as error:  # noqa: BLE001  # whatever ends a run is a result
                    result.errors.append(f"seed {seed}: {type(error).__name__}: {error}")
                else:
                    result.errors.extend(_differences(expected, rows_of(folder), seed))
                result.runs += 1
                for model in models:
                    result.faults.update(model.faults)
                    # Servers can have one model.
                    model.faults.clear()
                print_progress(f"faults of seed {seed}: {result.faults.total()} until now")
    return result


def _is_enough(settings: FaultSettings, result: FaultResult) -> bool:
    if result.runs >= MOST_RUNS:
        return True
    fewest = min(result.faults[kind] for kind in FAULTS)
    return result.faults.total() >= settings.faults and fewest >= settings.fewest_of_a_kind


def _models(seed: int) -> Sequence[FaultyModel]:
    """Return the model behind each server, with faults in one of several orders.

    Whether a request fails does not depend on the server, whose address changes from run to run,
    except where one server alone has faults.
    """
    order = seed % ORDERS
    if order == 0:
        return [served(Model(), share=SHARE, seed=seed)] * SERVERS
    if order == 1:
        return [served(Model(), first=FIRST, seed=seed)] * SERVERS
    sick = served(Model(), share=SICK_SHARE, seed=seed)
    return [sick, *[served(Model())] * (SERVERS - 1)]


def _failed_rows(folder: Path) -> int:
    """Return the number of rows that are stored as failures."""
    dataset = Dataset(str(folder))
    failed = 0
    for table in dataset.tables():
        for shard in dataset.shards(table):
            footer = dataset.footer(table, shard)
            assert footer is not None, "the run is complete"
            failed += footer.failed
    return failed


def _differences(expected: Rows, actual: Rows, seed: int) -> Iterator[str]:
    for table in sorted(expected.keys() | actual.keys()):
        if expected.get(table) != actual.get(table):
            yield f"seed {seed}: {table} is different"


def main() -> None:
    """Print the faults and differences as JSON; the exit status is 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="the number of faults")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the first run")
    options = parser.parse_args()
    result = run_with_faults(FaultSettings(faults=options.faults, seed=options.seed))
    print_json(result.to_dict())
    if result.errors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
