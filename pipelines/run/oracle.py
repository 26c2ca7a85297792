"""The oracle stage of a run: write the true verdict of every step, where the source knows it."""

import asyncio

from pipelines.run.resume import is_current
from pipelines.run.run_context import RunContext
from problems.base import Oracle
from stepmark.identity import digest
from stepmark.plugins import identity_of
from stepmark.records import Annotation, Problem, StepAnnotation, Trace, first_error_of
from storage.dataset.tables import ORACLE, PROBLEMS, annotations

__all__ = ["ORACLE", "make_oracle"]


async def make_oracle(run: RunContext, shard: int) -> None:
    """Write the oracle's annotations of a shard, those of discovered traces included.

    Does nothing if the source of the problems is not an oracle.
    """
    if run.plan.oracle is not None:
        # Judging a step is CPU-bound and the part is read and written, so a thread does it.
        await asyncio.to_thread(_write_oracle, run, run.plan.oracle, shard)


def _write_oracle(run: RunContext, oracle: Oracle, shard: int) -> None:
    fingerprint = digest(ORACLE, identity_of(type(oracle)), getattr(oracle, "version", 0))
    tables = run.reader.trace_tables()
    # An oracle judges by the metadata of the problems.
    contents = [run.reader.content(table, shard) for table in (PROBLEMS, *tables)]
    part_key = digest(fingerprint, *contents)
    if is_current(run, annotations(ORACLE), shard, part_key):
        return
    rows = list[Annotation]()
    for problem, trace in run.reader.traces(shard, tables):
        rows.append(_oracle_annotation(oracle, problem, trace, fingerprint))
    run.dataset.write_part(annotations(ORACLE), shard, rows, part_key)


def _oracle_annotation(
    oracle: Oracle, problem: Problem, trace: Trace, fingerprint: str
) -> Annotation:
    steps = list[StepAnnotation]()
    for verdict, reason in oracle.judge(problem, trace.steps):
        steps.append(StepAnnotation(verdict=verdict, rationale=reason))
    # A trace without steps, such as a rejected request, is undecided rather than free of errors.
    first_error = first_error_of([step.verdict for step in steps]) if steps else None
    return Annotation(
        trace_id=trace.trace_id,
        method=ORACLE,
        fingerprint=fingerprint,
        first_error=first_error,
        steps=tuple(steps),
    )
