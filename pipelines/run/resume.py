"""Resuming: which parts a rerun must still make, and which it removes.

A part is current if its footer has the part key that this run computes for it. Every stage skips
the parts that are current and replaces the others, each by a single rename. The rows of two run
files are therefore never in one part, and a part is replaced only when its successor is complete.

Parts that were derived from traces that are gone, or from other steps, are removed, because they
describe something that no longer exists. Making them again costs no token: completions are stored.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any

from pipelines.run.annotator_specs import AnnotatorSpec
from pipelines.run.run_context import RunContext
from storage.dataset.parts import Footer
from storage.dataset.tables import (
    LABELS,
    ORACLE,
    PER_METHOD,
    PROBLEMS,
    REJECTED,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
    is_human,
    rollouts,
)

__all__ = [
    "annotations_part_key",
    "current_footer",
    "is_current",
    "labels_part_keys",
    "remove_derived_parts",
    "remove_method",
    "remove_other_shards",
    "unnamed_methods",
]


def is_current(run: RunContext, table: Table[Any], shard: int, part_key: str) -> bool:
    """Return whether a part is complete and has the key that this run expects."""
    return current_footer(run, table, shard, part_key) is not None


def current_footer(run: RunContext, table: Table[Any], shard: int, part_key: str) -> Footer | None:
    """Return the footer of a part that is complete and has the key that this run expects, or None.

    The stage that makes the part skips it then. Only footers are read. The annotations of a
    method are complete only together with the rollouts, critiques and discovered traces that were
    written with them. With `retry_failed`, a part with rows that may succeed now is not current.

    Args:
        run: The run.
        table: The table.
        shard: The shard.
        part_key: The key that `fingerprints` computes for the part.
    """
    footer = run.dataset.footer(table, shard)
    if footer is None or footer.part_key != part_key:
        return None
    if run.options.retry_failed and footer.failed:
        return None
    for kind, (_, content) in footer.tables.items():
        written = run.dataset.footer(Table(kind, object, table.method), shard)
        if written is None or written.content != content:
            return None
    return footer


def annotations_part_key(run: RunContext, spec: AnnotatorSpec, shard: int) -> str:
    """Return the part key of an annotator's annotations, from the parts that it reads."""
    # Problems are read too, and traces contain nothing of a problem's domain and metadata.
    contents = [run.reader.content(PROBLEMS, shard), run.reader.content(TRACES, shard)]
    for dependency in spec.depends_on:
        footer = run.reader.footer(annotations(dependency.name), shard)
        contents.append(footer.content)
        # An annotator also reads the rollouts of its dependencies.
        contents.extend(content for _, content in footer.tables.values())
    return run.fingerprints.annotations_part_key(spec, contents)


def labels_part_keys(run: RunContext, shards: Sequence[int]) -> dict[int, str]:
    """Return the part keys of the labels of these shards, from the parts that they are made from.

    The shards are all those of the dataset if labels need all shards.
    """
    contents = {shard: _contents_below_labels(run, shard) for shard in shards}
    if run.plan.labels_need_all_shards:
        all_contents = list(chain.from_iterable(contents[shard] for shard in shards))
        contents = dict.fromkeys(shards, all_contents)
    return {
        shard: run.fingerprints.labels_part_key([*contents[shard], str(shard)]) for shard in shards
    }


def _contents_below_labels(run: RunContext, shard: int) -> list[str]:
    contents = [run.reader.content(table, shard) for table in run.reader.trace_tables()]
    if run.plan.filters:
        # Filters read the problems. Labelers do not.
        contents.append(run.reader.content(PROBLEMS, shard))
    for method in run.plan.annotators:
        contents.append(run.reader.content(annotations(method), shard))
    if run.plan.gold:
        # A shard without ground truth has no such part.
        footer = run.dataset.footer(annotations(run.plan.gold), shard)
        contents.append(footer.content if footer is not None else "")
    return contents


def remove_derived_parts(run: RunContext, shard: int) -> None:
    """Remove what methods and labelers derived from the traces of a shard, human labels excepted.

    Call it after traces were replaced by others, or cut into other steps. Nothing is lost that cost
    tokens: completions are stored.
    """
    for method in _methods(run):
        if not is_human(method):
            remove_method(run, method, shard)
    run.dataset.remove_part(LABELS, shard)


def remove_method(run: RunContext, method: str, shard: int) -> None:
    """Remove the parts of a method for one shard.

    The summary names methods that the run file does not name, because no stage makes their
    annotations again.
    """
    footer = run.dataset.footer(annotations(method), shard)
    if footer is not None and method not in (*run.plan.annotators, ORACLE):
        run.meter.removed[method] += footer.rows
    # The annotations go first: without them the other parts count as incomplete.
    for table_of in (annotations, rollouts, critiques, discovered):
        run.dataset.remove_part(table_of(method), shard)


def unnamed_methods(run: RunContext) -> Sequence[str]:
    """Return the methods in the dataset that the run file does not name, people excepted."""
    unnamed = list[str]()
    for method in sorted(_methods(run)):
        if method not in run.plan.annotators and not is_human(method):
            unnamed.append(method)
    return unnamed


def remove_other_shards(run: RunContext, shards: Collection[int]) -> None:
    """Remove the parts of all shards that the problems of this run do not fill.

    Human labels are kept as stale ones before; see `human_labels`.
    """
    for table in _tables(run):
        for shard in run.dataset.shards(table):
            if shard not in shards:
                run.dataset.remove_part(table, shard)


def _tables(run: RunContext) -> Iterator[Table[Any]]:
    yield from (PROBLEMS, REJECTED, TRACES, LABELS)
    for method in _methods(run):
        for table_of in (annotations, rollouts, critiques, discovered):
            yield table_of(method)


def _methods(run: RunContext) -> Collection[str]:
    # All kinds of tables are listed, not only annotations: a run killed before a method's
    # annotations were written leaves rollouts, critiques or discovered traces alone.
    methods = set[str]()
    for kind in PER_METHOD:
        methods.update(run.dataset.methods(kind))
    return methods
