"""Resuming: what a rerun must still make, and what it must remove first.

A part is current if its footer has the part key that `fingerprints` computes for this run. Every
stage skips the parts that are current. Parts that another run file wrote are removed before the run
writes into the same tables, so that rows of two run files never mix.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipelines.run.run_context import RunContext
from stepmark.errors import EngineError
from storage.dataset.tables import (
    LABELS,
    PER_METHOD,
    PROBLEMS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    rollouts,
)

__all__ = ["check_engines", "is_current", "labels_part_keys", "remove_stale_parts"]


def is_current(run: RunContext, table: Table[Any], shard: int, part_key: str) -> bool:
    """Return whether a part is complete and has the key that this run expects.

    If so, the stage that makes the part skips it. Only the footer is read.

    Args:
        run: The run.
        table: The table.
        shard: The shard.
        part_key: The key that `fingerprints` computes for the part.
    """
    return run.dataset.has_part(table, shard, part_key)


def labels_part_keys(run: RunContext, traces_keys: Mapping[int, str]) -> Mapping[int, str]:
    """Return the part keys of the labels of these traces, with the current ground truth.

    Args:
        run: The run.
        traces_keys: The part key of the traces, by shard.
    """
    gold_keys = dict[int, str]()
    if run.plan.gold:
        for shard in traces_keys:
            footer = run.dataset.footer(annotations(run.plan.gold), shard)
            if footer is not None:
                gold_keys[shard] = footer.part_key
    return run.fingerprints.labels_part_keys(traces_keys, gold_keys)


def remove_stale_parts(run: RunContext, traces_keys: Mapping[int, str]) -> None:
    """Remove every part that this run would write differently, so that rows never mix.

    Args:
        run: The run.
        traces_keys: The part key of the traces that the run works on, by shard.
    """
    for table, part_keys in _current_part_keys(run, traces_keys):
        run.dataset.keep(table, part_keys)


async def check_engines(run: RunContext, traces_keys: Mapping[int, str]) -> None:
    """Send one request to every engine if `remove_stale_parts` would remove engine output.

    An engine that is down or has a wrong address then costs no existing data.

    Raises:
        EngineError: An engine failed with a retryable error.
    """
    problem = next(run.dataset.read(PROBLEMS), None)
    if problem is None or not _removes_engine_output(run, traces_keys):
        return
    sampling = replace(run.plan.sampling(n=1, seed=0), max_tokens=1)
    for engine in run.plan.engines.distinct():
        try:
            await engine.complete(run.plan.solve_prompt(problem), sampling)
        except EngineError as error:
            # A rejected prompt is an answer too: the engine is up.
            if error.retryable:
                raise


def _removes_engine_output(run: RunContext, traces_keys: Mapping[int, str]) -> bool:
    for table, part_keys in _current_part_keys(run, traces_keys):
        if table is LABELS:
            continue  # labels need no engine
        for shard in run.dataset.stale_shards(table, part_keys):
            if run.dataset.footer(table, shard) is not None:
                return True
    return False


def _current_part_keys(
    run: RunContext, traces_keys: Mapping[int, str]
) -> Iterator[tuple[Table[Any], Mapping[int, str]]]:
    """Yield every table after the problems, with the part keys that this run accepts by shard."""
    yield TRACES, traces_keys
    current_traces = dict[int, str]()
    for shard, key in traces_keys.items():
        if is_current(run, TRACES, shard, key):
            current_traces[shard] = key
    # All kinds of tables are listed, not only annotations: a run killed before a method's
    # annotations were written leaves rollouts, critiques or discovered traces alone.
    methods = set[str]()
    for kind in PER_METHOD:
        methods.update(run.dataset.methods(kind))
    for method in methods:
        part_keys = {
            shard: _annotations_key(run, method, shard, key)
            for shard, key in current_traces.items()
        }
        for table_of in (annotations, rollouts, critiques, discovered):
            yield table_of(method), part_keys
    labels_keys = labels_part_keys(run, traces_keys)
    yield LABELS, {shard: key for shard, key in labels_keys.items() if shard in current_traces}


def _annotations_key(run: RunContext, method: str, shard: int, traces_key: str) -> str:
    if method in run.plan.annotators:
        return run.fingerprints.annotations_part_key(run.plan.annotators[method], traces_key)
    # A method that the run file does not name stays as long as the traces that it annotated.
    footer = run.dataset.footer(annotations(method), shard)
    return footer.part_key if footer is not None else ""
