"""`stepmark import`: write existing solutions as a dataset, and grade those without an outcome.

All solutions are held in memory, because those of one problem may be far apart in the files and
belong into one shard: about 3 kB for a solution of six short steps. They are graded and written
shard by shard. Problems keep the order of the files, and so do the solutions of a problem.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pipelines.importing.importer import (
    OTHER_LABELS,
    Imported,
    import_traces,
    label_base,
    reader_of,
)
from pipelines.run.config import Shards
from pipelines.run.graders import grade_answer, why_ungradable
from problems.solution_formats.base import HUMAN, NOT_GRADED
from problems.tabular.columns import MissingColumnError
from problems.tabular.readers import expand
from stepmark import steps as splitting
from stepmark.errors import ConfigError, InputError
from stepmark.final_answers import why_no_answer
from stepmark.identity import content_digest, digest
from stepmark.plugin_files import id_of
from stepmark.records import Annotation, Problem, Rejected, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.readme import write_readme
from storage.dataset.tables import (
    PROBLEMS,
    REJECTED,
    TRACES,
    Table,
    annotations,
    is_made_by_people,
)
from verifiers.isolation.pool import VerifierPool

__all__ = ["import_dataset"]

UNGRADABLE = "the reference answer: "
"""The start of the reason of outcomes whose reference no answer could equal."""


async def import_dataset(
    paths: Sequence[str],
    uri: str,
    *,
    shape: str,
    fields: Mapping[str, str],
    split: str,
    domain: str,
    license: str,
    min_step_chars: int = 0,
    labels_by: str = HUMAN,
    labels_from: int | None = None,
) -> Mapping[str, int]:
    """Import files into the dataset at `uri`.

    The other arguments are those of `import_traces`. Repeating an import writes only parts that are
    missing or damaged; labels that people have added since stay.

    Returns:
        The number of problems, traces, labels by method, and rejected rows, and the numbers of what
        the user should look at.

    Raises:
        ConfigError: The dataset has traces of another origin, or an argument is invalid.
        InputError: The files cannot be read or contain no usable solution.
    """
    reader = reader_of(
        shape, fields, split=split, min_step_chars=min_step_chars, labels_by=labels_by
    )
    with _hint_of_columns(shape):
        base = label_base(reader, expand(paths), labels_from)
    # In the order of the fingerprint.
    options: Mapping[str, Any] = {
        "shape": shape,
        "fields": fields,
        "split": split,
        "min_step_chars": min_step_chars,
        "domain": domain,
        "license": license,
        "labels_by": labels_by,
    }
    with _hint_of_columns(shape):
        rows = list(import_traces(paths, **options, labels_from=base))
    files = [content_digest(path) for path in expand(paths)]
    # An import is both the origin of its rows and the input of its parts, so its fingerprint is
    # the row fingerprint and the part key. A plugin file may move.
    identifying = {**options, "shape": id_of(shape)}
    fingerprint = digest(
        "import", reader.version, splitting.VERSION, files, *identifying.values(), base
    )
    imported = [row for row in rows if isinstance(row, Imported)]
    rejected = [row for row in rows if isinstance(row, Rejected)]
    if not imported:
        raise InputError(_no_solution(paths, rejected))
    dataset = Dataset(uri)
    dataset.check_writable()
    with dataset.writer_lock():
        _check_origin(dataset, fingerprint)
        counts = dict(await _write_dataset(dataset, imported, rejected, fingerprint))
        write_readme(dataset)
    if labels_from is None and base == 1:
        counts["labels are counted from"] = base
    return counts


@contextmanager
def _hint_of_columns(shape: str) -> Iterator[None]:
    """Add to the error of a missing column how another one is named, unless a shape defines it."""
    try:
        yield
    except MissingColumnError as error:
        if shape:
            raise
        raise InputError(f"{error}; name yours with --map question=COLUMN") from error


def _no_solution(paths: Sequence[str], rejected: Sequence[Rejected]) -> str:
    message = f"no solution to import in {', '.join(paths)}, nothing was changed"
    if not rejected:
        return f"{message}, the files are empty"
    first = rejected[0]
    return f"{message}; {first.file}, row {first.row}, field '{first.field}': {first.reason}"


def _check_origin(dataset: Dataset, fingerprint: str) -> None:
    """Raise `ConfigError` if the dataset has other traces: rows of two origins never mix."""
    for shard in dataset.shards(TRACES):
        footer = dataset.footer(TRACES, shard)
        if footer is None or footer.part_key != fingerprint:
            raise ConfigError(f"{dataset.uri} holds other traces already: import into a new folder")


async def _write_dataset(
    dataset: Dataset,
    imported: Sequence[Imported],
    rejected: Sequence[Rejected],
    fingerprint: str,
) -> Mapping[str, int]:
    dataset.sweep()
    labels = Counter[str]()
    for item in imported:
        labels.update(annotation.method for annotation in item.annotations)
    shards = _shards(imported)
    if not dataset.shards(TRACES):
        _remove_other_import(dataset, fingerprint)
    if not dataset.has_part(REJECTED, 0, fingerprint):
        dataset.write_part(REJECTED, 0, rejected, fingerprint)
    async with VerifierPool() as workers:
        for shard, solutions in enumerate(shards):
            await _write_shard(dataset, shard, solutions, fingerprint, workers)
    counts = {
        "problems": len({item.problem.problem_id for item in imported}),
        "traces": len(imported),
    }
    ungradable = _ungradable_problems(dataset)
    if ungradable:
        counts["problems whose reference no answer can equal"] = ungradable
    # The number of human labels is shown even if it is zero.
    for method in sorted({HUMAN, *labels}):
        counts[f"with a {method} label"] = labels[method]
    counts["rows set aside"] = len(rejected)
    disagreements = sum(row.reason.startswith(OTHER_LABELS) for row in rejected)
    if disagreements:
        counts["of these with other labels than the same trace"] = disagreements
    return counts


def _ungradable_problems(dataset: Dataset) -> int:
    problems = set[str]()
    for shard in dataset.shards(TRACES):
        reasons = dataset.column(TRACES, shard, "outcome_reason")
        ids = dataset.column(TRACES, shard, "problem_id")
        for problem_id, reason in zip(ids, reasons, strict=True):
            if reason.startswith(UNGRADABLE):
                problems.add(problem_id)
    return len(problems)


def _remove_other_import(dataset: Dataset, fingerprint: str) -> None:
    """Remove what a killed import of other files or with other arguments left.

    Call it only if the dataset has no traces. Other annotations stay: the traces may have been
    lost, for instance because a damaged part was deleted.
    """
    problem_tables: tuple[Table[Any], ...] = (PROBLEMS, REJECTED)
    for problem_table in problem_tables:
        part_keys = dict.fromkeys(dataset.shards(problem_table), fingerprint)
        dataset.keep(problem_table, part_keys)
    for method in dataset.methods("annotations"):
        labels = annotations(method)
        for shard in dataset.shards(labels):
            footer = dataset.footer(labels, shard)
            if footer is None or footer.part_key == fingerprint:
                continue
            # The rows of an import have its part key as their fingerprint.
            fingerprints = set(dataset.column(labels, shard, "fingerprint"))
            if fingerprints <= {footer.part_key}:
                dataset.remove_part(labels, shard)


def _shards(imported: Sequence[Imported]) -> Sequence[Sequence[Imported]]:
    """Divide the solutions into shards, all solutions of one problem in the same shard."""
    by_problem = dict[str, list[Imported]]()
    for item in imported:
        by_problem.setdefault(item.problem.problem_id, []).append(item)
    problems_per_shard = Shards().problems_per_shard
    shards = list[list[Imported]]()
    for index, solutions in enumerate(by_problem.values()):
        if index % problems_per_shard == 0:
            shards.append([])
        shards[-1].extend(solutions)
    return shards


async def _write_shard(
    dataset: Dataset,
    shard: int,
    solutions: Sequence[Imported],
    fingerprint: str,
    workers: VerifierPool,
) -> None:
    """Write the parts of a shard that are missing or damaged.

    A part of labels stays even if it has another part key: people may have added labels since.

    Raises:
        DatasetError: A part with labels of people is damaged.
    """
    problems = dict[str, Problem]()
    labels = dict[str, list[Annotation]]()
    for item in solutions:
        problems[item.problem.problem_id] = item.problem
        for annotation in item.annotations:
            row = replace(annotation, fingerprint=fingerprint)
            labels.setdefault(annotation.method, []).append(row)
    if not dataset.has_part(PROBLEMS, shard, fingerprint):
        dataset.write_part(PROBLEMS, shard, problems.values(), fingerprint)
    for method, rows in labels.items():
        table = annotations(method)
        if dataset.footer(table, shard) is None:
            if is_made_by_people(table) and shard in dataset.shards(table):
                # A damaged part can contain labels that are not in the files.
                raise dataset.damage_error(table, shard)
            dataset.write_part(table, shard, rows, fingerprint)
    # The traces come last: without them the dataset counts as empty, and an import that was killed
    # can be replaced by another one.
    if not dataset.has_part(TRACES, shard, fingerprint):
        traces = await asyncio.gather(*(_graded_trace(workers, item) for item in solutions))
        dataset.write_part(TRACES, shard, traces, fingerprint)


async def _graded_trace(workers: VerifierPool, item: Imported) -> Trace:
    """Return the trace, graded if its row has no outcome."""
    trace = item.trace
    if trace.outcome_reason != NOT_GRADED:
        return trace
    reference = item.problem.answer
    grade = await grade_answer(workers, trace.final_answer, reference)
    reason = grade.reason
    if reference is not None and grade.outcome is Verdict.UNKNOWN:
        if trace.final_answer is None:
            reason = why_no_answer("".join(trace.steps)) or reason
        fault = await why_ungradable(workers, reference)
        if fault:
            reason = f"{UNGRADABLE}{fault}"
    return replace(trace, outcome=grade.outcome, outcome_reason=reason)
