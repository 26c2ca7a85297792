"""The first stage of a run: write the problems of the source shard by shard."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from annotators.concurrency import gather_or_cancel
from pipelines.run.graders import grader_of, why_ungradable
from pipelines.run.resume import is_current
from pipelines.run.run_context import RunContext
from stepmark.errors import DatasetError
from stepmark.identity import digest
from stepmark.records import Problem, Rejected
from storage.dataset.tables import PROBLEMS, REJECTED

__all__ = ["make_problems"]

Row = Problem | Rejected


async def make_problems(run: RunContext) -> Mapping[int, str]:
    """Write the problems and the rejected rows, shard by shard.

    A problem whose reference answer cannot be graded against is rejected as well, because no
    solution of it could ever be labelled.

    Returns:
        The part key of each shard's problems: the digest of its rows.

    Raises:
        DatasetError: The source has no problem, or no usable one; nothing was changed.
    """
    source = run.plan.source
    assert source is not None, "`flow.prepare` requires [problems] for a run that makes problems"
    rows = enumerate(source.problems(), start=1)
    part_keys = dict[int, str]()
    rewriting = False
    while chunk := await _next_chunk(run, rows):
        problems = [row for row in chunk if isinstance(row, Problem)]
        rejected = [row for row in chunk if isinstance(row, Rejected)]
        run.meter.finish("problems", len(problems))
        run.meter.finish("rows set aside", len(rejected))
        shard = len(part_keys)
        # Derived from the rows, not from the source, so that a source that grows keeps the shards
        # that it had.
        part_key = await asyncio.to_thread(digest, "problems", problems, rejected)
        if not rewriting and not await asyncio.to_thread(_has_shard, run, shard, part_key):
            if not problems and shard == 0:
                raise DatasetError(_no_usable_problem(rejected[0]))
            # The parts of this and later shards come from another source. They are removed before
            # the first new part is written, so that rows of two sources never mix.
            await asyncio.to_thread(_keep_shards, run, part_keys)
            rewriting = True
        if rewriting:
            await asyncio.to_thread(_write_shard, run, shard, part_key, problems, rejected)
        part_keys[shard] = part_key
    if not part_keys:
        raise DatasetError("the source has no problem; nothing was changed")
    await asyncio.to_thread(_keep_shards, run, part_keys)
    return part_keys


async def _next_chunk(run: RunContext, rows: Iterator[tuple[int, Row]]) -> Sequence[Row]:
    """Return the next rows, up to and including the number of problems of one shard.

    A source may be slow, for instance while downloading, so a thread waits for it.
    """
    chunk = list[Row]()
    problems = 0
    while problems < run.plan.run_file.shards.problems_per_shard:
        missing = run.plan.run_file.shards.problems_per_shard - problems
        numbered = await asyncio.to_thread(list, islice(rows, missing))
        if not numbered:
            break
        checked = await gather_or_cancel(
            _reject_ungradable(run, number, row) for number, row in numbered
        )
        chunk.extend(checked)
        problems += sum(isinstance(row, Problem) for row in checked)
    return chunk


async def _reject_ungradable(run: RunContext, number: int, row: Row) -> Row:
    """Return the row, rejected if its reference answer cannot be graded against.

    Args:
        run: The run.
        number: The position of the row among all rows of the source, from 1.
        row: The row.
    """
    if isinstance(row, Rejected) or row.answer is None:
        return row
    grader = grader_of(run.plan.run_file)
    reason = await why_ungradable(run.workers, row.answer, grader=grader)
    if not reason:
        return row
    return Rejected(file=row.source, row=number, field="answer", reason=reason)


def _has_shard(run: RunContext, shard: int, part_key: str) -> bool:
    return all(is_current(run, table, shard, part_key) for table in (PROBLEMS, REJECTED))


def _write_shard(
    run: RunContext,
    shard: int,
    part_key: str,
    problems: Sequence[Problem],
    rejected: Sequence[Rejected],
) -> None:
    # The problems come last, so a run killed in between leaves no part that later stages could use.
    run.dataset.write_part(REJECTED, shard, rejected, part_key)
    run.dataset.write_part(PROBLEMS, shard, problems, part_key)


def _keep_shards(run: RunContext, part_keys: Mapping[int, str]) -> None:
    for table in (PROBLEMS, REJECTED):
        run.dataset.keep(table, part_keys)


def _no_usable_problem(row: Rejected) -> str:
    return (
        "the source has no usable problem, nothing was changed; "
        f"{row.file}, row {row.row}, field '{row.field}': {row.reason}"
    )
