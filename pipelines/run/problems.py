"""The first stage of a run: write the problems of the source shard by shard."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from annotators.concurrency import gather_or_cancel
from pipelines.run.graders import is_plainly_gradable, why_ungradable
from pipelines.run.resume import is_current
from pipelines.run.run_context import RunContext
from stepmark.errors import DatasetError
from stepmark.identity import digest
from stepmark.records import Problem, Rejected
from storage.dataset.tables import PROBLEMS, REJECTED, TRACES

__all__ = ["ProblemShard", "has_traces", "make_problems", "problem_shards"]

Row = Problem | Rejected


@dataclass(frozen=True, kw_only=True)
class ProblemShard:
    """The problems of one shard, as the source gives them now."""

    shard: int
    part_key: str
    """The digest of the rows. It does not depend on the source itself, so that a source that grows
    keeps the shards that it had."""
    problems: Sequence[Problem]
    rejected: Sequence[Rejected]


async def problem_shards(run: RunContext) -> AsyncIterator[ProblemShard]:
    """Yield the problems of the source, shard by shard.

    A problem whose reference answer cannot be graded against is rejected, because no solution of it
    could ever be labelled.

    Raises:
        DatasetError: The source has no problem, or no usable one.
    """
    source = run.plan.source
    assert source is not None, "`prepare` requires [problems] for a run that makes problems"
    rows = enumerate(source.problems(), start=1)
    shard = 0
    while chunk := await _next_chunk(run, rows):
        problems = [row for row in chunk if isinstance(row, Problem)]
        rejected = [row for row in chunk if isinstance(row, Rejected)]
        if not problems and shard == 0:
            raise DatasetError(_no_usable_problem(rejected[0]))
        part_key = await asyncio.to_thread(digest, "problems", problems, rejected)
        yield ProblemShard(shard=shard, part_key=part_key, problems=problems, rejected=rejected)
        shard += 1
    if shard == 0:
        raise DatasetError("the source has no problem; nothing was changed")


async def make_problems(
    run: RunContext, check_replacements: Callable[[], Awaitable[None]]
) -> Sequence[str]:
    """Write the problems and the rejected rows, shard by shard, and return their part keys.

    A part whose rows are the same is not written again. Of a slice of the shards, only these are
    written: the others are read to know which problems are in which shard.

    Args:
        run: The run.
        check_replacements: Called before anything is written, if anything in the dataset is
            different from what this run makes.

    Raises:
        DatasetError: The source has no problem, or no usable one; nothing was changed.
    """
    part_keys = list[str]()
    is_checked = False
    slice_of_run = run.options.slice
    async for item in problem_shards(run):
        part_keys.append(item.part_key)
        if slice_of_run is not None and item.shard not in slice_of_run:
            continue
        run.meter.finish("problems", len(item.problems))
        run.meter.finish("rows set aside", len(item.rejected))
        is_unchanged = await asyncio.to_thread(has_traces, run, item)
        if not is_unchanged and not is_checked:
            await check_replacements()
            is_checked = True
        if not is_unchanged and not await asyncio.to_thread(_has_problems, run, item):
            await asyncio.to_thread(_write_shard, run, item)
    last_shard = max(await asyncio.to_thread(run.dataset.shards, TRACES), default=0)
    if last_shard >= len(part_keys) and not is_checked:
        await check_replacements()
    return part_keys


def has_traces(run: RunContext, item: ProblemShard) -> bool:
    """Return whether the dataset has these problems, and the traces that this run would make."""
    if not _has_problems(run, item):
        return False
    problems_content = run.reader.content(PROBLEMS, item.shard)
    part_key = run.fingerprints.traces_part_key(problems_content)
    return is_current(run, TRACES, item.shard, part_key)


def _has_problems(run: RunContext, item: ProblemShard) -> bool:
    return all(is_current(run, table, item.shard, item.part_key) for table in (PROBLEMS, REJECTED))


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
        checked = await _reject_all_ungradable(run, numbered)
        chunk.extend(checked)
        problems += sum(isinstance(row, Problem) for row in checked)
    return chunk


async def _reject_all_ungradable(
    run: RunContext, numbered: Sequence[tuple[int, Row]]
) -> Sequence[Row]:
    """Return the rows, rejected if their reference answers cannot be graded against."""
    checked = [row for _, row in numbered]
    # A task for each of a million problems would take longer than everything else here.
    positions = [index for index, row in enumerate(checked) if _needs_verifier(run, row)]
    results = await gather_or_cancel(
        _reject_ungradable(run, *numbered[position]) for position in positions
    )
    for position, row in zip(positions, results, strict=True):
        checked[position] = row
    return checked


def _needs_verifier(run: RunContext, row: Row) -> bool:
    if isinstance(row, Rejected) or row.answer is None:
        return False
    return not is_plainly_gradable(row.answer, grader=run.plan.grader)


async def _reject_ungradable(run: RunContext, number: int, row: Row) -> Row:
    """Return the row, rejected if its reference answer cannot be graded against.

    Args:
        run: The run.
        number: The position of the row among all rows of the source, from 1.
        row: The row.
    """
    if isinstance(row, Rejected) or row.answer is None:
        return row
    reason = await why_ungradable(run.workers, row.answer, grader=run.plan.grader)
    if not reason:
        return row
    return Rejected(file=row.source, row=number, field="answer", reason=reason)


def _write_shard(run: RunContext, item: ProblemShard) -> None:
    # The problems come last, so a run killed in between leaves no part that later stages could use.
    run.dataset.write_part(REJECTED, item.shard, item.rejected, item.part_key)
    run.dataset.write_part(PROBLEMS, item.shard, item.problems, item.part_key)


def _no_usable_problem(row: Rejected) -> str:
    return (
        "the source has no usable problem, nothing was changed; "
        f"{row.file}, row {row.row}, field '{row.field}': {row.reason}"
    )
