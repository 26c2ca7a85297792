"""`stepmark import`: other people's solutions become a dataset to label, graded where the rows do not say how they end.

All solutions are held in memory, since those of one problem may lie far apart in the files and belong in one shard.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipelines.config import Shards
from pipelines.grading import grade_answer
from pipelines.importing import HUMAN, NOT_GRADED, Imported, import_traces
from problems._rows import expand
from stepmark.errors import ConfigError, InputError
from stepmark.identity import content_digest, digest
from stepmark.records import Rejected, Trace
from storage.dataset import Dataset
from storage.tables import PROBLEMS, REJECTED, TRACES, annotations
from verifiers._isolated import Isolated

__all__ = ["take_in"]


async def take_in(
    paths: Sequence[str],
    uri: str,
    *,
    shape: str,
    fields: Mapping[str, str],
    split: str,
    domain: str,
    license: str,
) -> Mapping[str, int]:
    """Read the files into the dataset at `uri`; returns how many of what it now holds."""
    rows = list(import_traces(paths, shape=shape, fields=fields, split=split, domain=domain, license=license))
    fingerprint = digest("import", [content_digest(path) for path in expand(paths)], shape, fields, split, domain, license)
    _refuse_nothing(paths, rows)
    dataset = Dataset(uri)
    dataset.check_writable()
    with dataset.alone():
        _refuse_others(dataset, fingerprint)
        return await _take_in(dataset, rows, fingerprint)


def _refuse_nothing(paths: Sequence[str], rows: Sequence[Imported | Rejected]) -> None:
    if not any(isinstance(row, Imported) for row in rows):
        first = next((row for row in rows if isinstance(row, Rejected)), None)
        told = f"; {first.file}, row {first.row}, field '{first.field}': {first.reason}" if first else ", the files are empty"
        raise InputError(f"no solution to import in {', '.join(paths)}, nothing was changed{told}")


async def _take_in(dataset: Dataset, rows: Sequence[Imported | Rejected], fingerprint: str) -> Mapping[str, int]:
    dataset.sweep()
    rejected = [row for row in rows if isinstance(row, Rejected)]
    imported = await _graded([row for row in rows if isinstance(row, Imported)])
    shards = _shards(imported)
    for table in (PROBLEMS, REJECTED, annotations(HUMAN)):  # what an import that was killed, of other files, left behind
        dataset.keep(table, dict.fromkeys(range(len(shards)), fingerprint))
    dataset.write_part(REJECTED, 0, rejected, fingerprint)
    for shard, found in enumerate(shards):
        _write(dataset, shard, found, fingerprint)
    return {
        "problems": len({item.problem.problem_id for item in imported}),
        "traces": len(imported),
        "with a human label": sum(item.annotation is not None for item in imported),
        "rows set aside": len(rejected),
    }


def _refuse_others(dataset: Dataset, fingerprint: str) -> None:
    """A table's rows of two origins never mix: one import is one dataset."""
    footers = (dataset.footer(TRACES, shard) for shard in dataset.shards(TRACES))
    if any(footer is None or footer.fingerprint != fingerprint for footer in footers):
        raise ConfigError(f"{dataset.uri} holds other traces already: import into a new folder")


async def _graded(imported: Sequence[Imported]) -> Sequence[Imported]:
    async with Isolated() as workers:
        traces = await asyncio.gather(*(_with_outcome(workers, item) for item in imported))
    return [replace(item, trace=trace) for item, trace in zip(imported, traces, strict=True)]


async def _with_outcome(workers: Isolated, item: Imported) -> Trace:
    trace = item.trace
    if trace.outcome_reason != NOT_GRADED:
        return trace
    graded = await grade_answer(workers, trace.final_answer, item.problem.answer)
    return replace(trace, outcome=graded.outcome, outcome_reason=graded.reason)


def _shards(imported: Sequence[Imported]) -> Sequence[Sequence[Imported]]:
    """All solutions of a problem in one shard, problems in the order of the files."""
    by_problem: dict[str, list[Imported]] = {}
    for item in imported:
        by_problem.setdefault(item.problem.problem_id, []).append(item)
    groups, size = list(by_problem.values()), Shards().problems_per_shard
    return [[item for group in groups[start : start + size] for item in group] for start in range(0, len(groups), size)]


def _write(dataset: Dataset, shard: int, found: Sequence[Imported], fingerprint: str) -> None:
    problems = {item.problem.problem_id: item.problem for item in found}
    labels = [replace(item.annotation, fingerprint=fingerprint) for item in found if item.annotation is not None]
    dataset.write_part(PROBLEMS, shard, problems.values(), fingerprint)
    if labels:
        dataset.write_part(annotations(HUMAN), shard, labels, fingerprint)
    dataset.write_part(TRACES, shard, [item.trace for item in found], fingerprint)
