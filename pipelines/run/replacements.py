"""What a run would replace: checked before it writes anything.

Completions are stored, so a run that grades, splits or labels again, or adds traces, loses nothing.
A run whose engine, prompt, sampling, seed or problems have changed makes other traces: those in the
dataset would leave its tables, and with them the labels that people gave them.
"""

import asyncio
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipelines.run.problems import ProblemShard, has_traces, problem_shards
from pipelines.run.run_context import RunContext
from pipelines.run.traces import trace_ids
from stepmark.errors import ReplacesError
from stepmark.identity import digest
from stepmark.secrets import without_secrets
from storage.dataset.tables import TRACES, annotations, discovered, is_human

__all__ = ["check_replacements", "target"]

# Parts of this format were written before completions were stored; see `migration`.
FORMAT_WITHOUT_STORE = 1
# Keys that an error message lists; the others are counted.
LISTED_KEYS = 4


async def check_replacements(run: RunContext) -> None:
    """Check that the run keeps all traces of the dataset, or may replace them.

    Raises:
        ReplacesError: Traces would be replaced. The message says which settings changed, how many
            traces and human labels would go and how many tokens they cost.
    """
    shards_with_traces = await asyncio.to_thread(run.dataset.shards, TRACES)
    if run.options.recompute or not shards_with_traces:
        return
    existing = set[str]()
    expected = set[str]()
    problems_keys = list[str]()
    async for item in problem_shards(run):
        problems_keys.append(item.part_key)
        in_dataset, in_plan = await asyncio.to_thread(_ids_of_shard, run, item)
        # Only differences are collected, so that memory holds no ids of unchanged shards. A trace
        # can also have moved to another shard.
        existing |= in_dataset - in_plan
        expected |= in_plan - in_dataset
    for shard in shards_with_traces:
        if shard >= len(problems_keys):
            existing.update(await asyncio.to_thread(_trace_ids_in, run, shard))
    replaced = existing - expected
    if replaced:
        # A run that was killed while problems moved leaves traces in two shards. One of them can be
        # unchanged, so that its traces are not in `expected`.
        async for item in problem_shards(run):
            for problem in item.problems:
                replaced.difference_update(trace_ids(run.plan, problem))
    if replaced and not _is_continued(run, problems_keys):
        raise ReplacesError(await asyncio.to_thread(_message, run, replaced))


def target(run: RunContext, problems_keys: Sequence[str]) -> str:
    """Return a comment for the stored run file that says what the traces are made from.

    A run that was allowed to replace traces and was killed has the same target when it is started
    again, and need not be allowed again.
    """
    solutions = run.fingerprints.solutions(run.plan.engine)
    traces_per_problem = run.plan.run_file.generate.traces_per_problem
    made_from = digest(solutions, traces_per_problem, problems_keys)
    return f"# The traces are made from {made_from}.\n"


def _is_continued(run: RunContext, problems_keys: Sequence[str]) -> bool:
    run_files = run.dataset.read_run_files()
    return bool(run_files) and run_files[0].startswith(target(run, problems_keys))


def _ids_of_shard(run: RunContext, item: ProblemShard) -> tuple[set[str], set[str]]:
    """Return the ids of the traces that a shard has, and of those that the run would make."""
    if has_traces(run, item):
        return set(), set()
    in_plan = set[str]()
    for problem in item.problems:
        in_plan.update(trace_ids(run.plan, problem))
    return set(_trace_ids_in(run, item.shard)), in_plan


def _trace_ids_in(run: RunContext, shard: int) -> Sequence[str]:
    if run.dataset.footer(TRACES, shard) is None:
        return []
    return list(run.dataset.column(TRACES, shard, "trace_id"))


def _message(run: RunContext, replaced: Collection[str]) -> str:
    tokens = 0
    human_labels = 0
    labelled = {*replaced, *_discovered_from(run, replaced)}
    for shard in run.dataset.shards(TRACES):
        tokens += _tokens_of(run, TRACES, shard, replaced)
    for method in run.dataset.methods("annotations"):
        table = annotations(method)
        for shard in run.dataset.shards(table):
            if is_human(method):
                ids = run.dataset.column(table, shard, "trace_id")
                human_labels += sum(trace_id in labelled for trace_id in ids)
            else:
                tokens += _tokens_of(run, table, shard, replaced)
    changed = _changed_keys(run)
    what = f"{len(replaced)} traces that cost {tokens} tokens"
    if human_labels:
        what += f" and have {human_labels} human labels"
    stored = "completions and human labels stay stored"
    if _has_unstored_traces(run, replaced):
        stored = "human labels stay stored, but texts that were imported or not migrated are lost"
    return (
        f"{run.dataset.uri}: the run file would replace {what}: {changed}; "
        f"pass --recompute to replace them ({stored}), "
        "or name another folder in `dataset`"
    )


def _discovered_from(run: RunContext, trace_ids: Collection[str]) -> Iterator[str]:
    """Yield the ids of the traces that methods discovered from these traces."""
    for method in run.dataset.methods("discovered"):
        table = discovered(method)
        for shard in run.dataset.shards(table):
            ids = run.dataset.column(table, shard, "trace_id")
            parents = run.dataset.column(table, shard, "parent_trace_id")
            for trace_id, parent in zip(ids, parents, strict=True):
                if parent in trace_ids:
                    yield trace_id


def _has_unstored_traces(run: RunContext, trace_ids: Collection[str]) -> bool:
    """Return whether the text of one of the traces is nowhere but in the traces."""
    for shard in run.dataset.shards(TRACES):
        footer = run.dataset.footer(TRACES, shard)
        is_old = footer is not None and footer.format == FORMAT_WITHOUT_STORE
        ids = run.dataset.column(TRACES, shard, "trace_id")
        samplings = run.dataset.column(TRACES, shard, "sampling")
        for trace_id, sampling in zip(ids, samplings, strict=True):
            if trace_id in trace_ids and (is_old or sampling is None):
                return True
    return False


def _tokens_of(run: RunContext, table: Any, shard: int, trace_ids: Collection[str]) -> int:
    """Return the number of tokens that were generated for these traces, in one part."""
    ids = run.dataset.column(table, shard, "trace_id")
    tokens = run.dataset.column(table, shard, "generated_tokens")
    return sum(count for trace_id, count in zip(ids, tokens, strict=True) if trace_id in trace_ids)


def _changed_keys(run: RunContext) -> str:
    """Return which keys of the run file differ from those of the run that made the dataset."""
    run_files = run.dataset.read_run_files()
    if not run_files:
        return "the dataset has no run file"
    try:
        # Earlier versions stored the secrets of a run file too.
        earlier = dict(_flat(without_secrets(tomllib.loads(run_files[0]))))
    except (ValueError, RecursionError):
        return "the run file in the dataset cannot be read"
    current = dict(_flat(tomllib.loads(run.plan.run_file.to_toml())))
    changed = list[str]()
    for key in sorted(earlier.keys() | current.keys()):
        if earlier.get(key) != current.get(key):
            changed.append(_change(key, earlier.get(key), current.get(key)))
    if not changed:
        return "the problems or the model have changed"
    listing = ", ".join(changed[:LISTED_KEYS])
    if len(changed) > LISTED_KEYS:
        listing += f" and {len(changed) - LISTED_KEYS} more keys"
    return f"changed: {listing}"


def _change(key: str, before: object, after: object) -> str:
    """Return a changed key; with its values if they are numbers, since a text can be a secret."""
    if isinstance(before, int | float) and isinstance(after, int | float):
        return f"{key} {before} -> {after}"
    return key


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the keys of nested tables with dots between them, and their values."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            entries = {str(index): entry for index, entry in enumerate(value)}
            yield from _flat(entries, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
