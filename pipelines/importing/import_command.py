"""`stepmark import`: other people's solutions become a dataset to label, graded where the rows do not say how they end.

All solutions are held in memory, since those of one problem may lie far apart in the files and belong in one shard: some 3 kB for one of
six short steps. They are graded and written shard by shard. Within a problem, and among problems, the order of the files stays.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipelines.importing.importer import Imported, import_traces, reader_of
from pipelines.run.config import Shards
from pipelines.run.grading import grade_answer
from problems.solution_formats.base import HUMAN, NOT_GRADED
from problems.tabular.readers import expand
from stepmark.errors import ConfigError, InputError
from stepmark.identity import content_digest, digest
from stepmark.records import Annotation, Rejected, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES, annotations
from verifiers.isolation.pool import Isolated

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
    labels_by: str = HUMAN,
) -> Mapping[str, int]:
    """Read the files into the dataset at `uri`; returns how many of what it now holds."""
    rows = list(
        import_traces(
            paths,
            shape=shape,
            fields=fields,
            split=split,
            domain=domain,
            license=license,
            labels_by=labels_by,
        )
    )
    version = reader_of(shape, fields, split=split, labels_by=labels_by).version
    files = [content_digest(path) for path in expand(paths)]
    fingerprint = digest("import", version, files, shape, fields, split, domain, license, labels_by)
    _refuse_nothing(paths, rows)
    dataset = Dataset(uri)
    dataset.check_writable()
    with dataset.alone():
        _refuse_others(dataset, fingerprint)
        return await _take_in(dataset, rows, fingerprint)


def _refuse_nothing(paths: Sequence[str], rows: Sequence[Imported | Rejected]) -> None:
    if not any(isinstance(row, Imported) for row in rows):
        first = next((row for row in rows if isinstance(row, Rejected)), None)
        told = (
            f"; {first.file}, row {first.row}, field '{first.field}': {first.reason}"
            if first
            else ", the files are empty"
        )
        raise InputError(f"no solution to import in {', '.join(paths)}, nothing was changed{told}")


async def _take_in(
    dataset: Dataset, rows: Sequence[Imported | Rejected], fingerprint: str
) -> Mapping[str, int]:
    dataset.sweep()
    rejected = [row for row in rows if isinstance(row, Rejected)]
    imported = [row for row in rows if isinstance(row, Imported)]
    labels = Counter(annotation.method for item in imported for annotation in item.annotations)
    shards = _shards(imported)
    # What a killed import of other files left behind goes. Where traces stand they are ours, and other methods may have labelled them.
    left = labels if dataset.shards(TRACES) else dataset.methods("annotations")
    dataset.keep(PROBLEMS, wanted := dict.fromkeys(range(len(shards)), fingerprint))
    dataset.keep(REJECTED, wanted)
    for method in left:
        dataset.keep(annotations(method), wanted)
    dataset.write_part(REJECTED, 0, rejected, fingerprint)
    async with Isolated() as workers:
        for shard, found in enumerate(shards):
            await _write(dataset, shard, found, fingerprint, workers)
    return {
        "problems": len({item.problem.problem_id for item in imported}),
        "traces": len(imported),
        **{f"with a {method} label": labels[method] for method in sorted({HUMAN, *labels})},
        "rows set aside": len(rejected),
    }


def _refuse_others(dataset: Dataset, fingerprint: str) -> None:
    """A table's rows of two origins never mix: one import is one dataset."""
    footers = (dataset.footer(TRACES, shard) for shard in dataset.shards(TRACES))
    if any(footer is None or footer.fingerprint != fingerprint for footer in footers):
        raise ConfigError(f"{dataset.uri} holds other traces already: import into a new folder")


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
    return [
        [item for group in groups[start : start + size] for item in group]
        for start in range(0, len(groups), size)
    ]


async def _write(
    dataset: Dataset, shard: int, found: Sequence[Imported], fingerprint: str, workers: Isolated
) -> None:
    traces = await asyncio.gather(*(_with_outcome(workers, item) for item in found))
    labels: dict[str, list[Annotation]] = {}
    for item in found:
        for annotation in item.annotations:
            labels.setdefault(annotation.method, []).append(
                replace(annotation, fingerprint=fingerprint)
            )
    dataset.write_part(
        PROBLEMS,
        shard,
        {item.problem.problem_id: item.problem for item in found}.values(),
        fingerprint,
    )
    for method, made in labels.items():
        dataset.write_part(annotations(method), shard, made, fingerprint)
    dataset.write_part(TRACES, shard, traces, fingerprint)
