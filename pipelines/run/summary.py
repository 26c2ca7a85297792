"""The summary of a run: what the dataset contains, read back by SQL, and what the run cost."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipelines.run.config import Prices
from pipelines.run.meter import Meter
from stepmark.plugins import available
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import SCHEMAS
from storage.dataset.slices import Slice
from storage.queries.format_rows import count_format_rows
from storage.queries.render import values
from storage.queries.sql import RunQuery, query_session
from storage.queries.views import kinds_read

__all__ = ["failed_methods", "slice_rows", "summary_rows"]

# Discovered traces are excluded: they are rollouts of their method and counted there.
OUTCOMES = """
SELECT outcome, count(*) FROM traces WHERE found_by IS NULL GROUP BY outcome ORDER BY outcome
"""
DISCOVERED = """
SELECT found_by, sum(n)::BIGINT, string_agg(n || ' ' || outcome, ', ' ORDER BY outcome)
FROM (
  SELECT found_by, outcome, count(*) AS n FROM traces WHERE found_by IS NOT NULL GROUP BY ALL
)
GROUP BY found_by ORDER BY found_by
"""
REJECTED_REQUESTS = """
SELECT finish_reason, count(*) FROM traces
WHERE starts_with(finish_reason, 'error: ') GROUP BY 1 ORDER BY 2 DESC, 1
"""
# What an engine returned without text, so that nothing can be labelled.
WITHOUT_TEXT = """
SELECT count(*) FROM traces
WHERE found_by IS NULL AND len(steps) = 0 AND NOT starts_with(finish_reason, 'error: ')
"""
# Completions that did not end by themselves and were not cut at their maximum length.
# `--retry-failed` requests them again.
UNFINISHED = """
SELECT finish_reason, count(*) FROM (
  SELECT finish_reason FROM traces WHERE found_by IS NULL
  UNION ALL SELECT finish_reason FROM rollouts
  UNION ALL SELECT finish_reason FROM critiques
)
WHERE finish_reason NOT IN ('stop', 'length') AND NOT starts_with(finish_reason, 'error: ')
GROUP BY 1 ORDER BY 2 DESC, 1
"""
# A reply that gives no verdict on any step was not read, or decides nothing.
UNREAD_REPLIES = """
WITH replies AS (
  SELECT *, len(list_intersect(verdicts, ['correct', 'incorrect'])) = 0 AS is_unread FROM critiques
)
SELECT method, count(*), count(*) FILTER (is_unread),
  count(*) FILTER (is_unread AND finish_reason <> 'stop'),
  first(text ORDER BY finish_reason <> 'stop', trace_id, prompt, vote) FILTER (is_unread)
FROM replies GROUP BY method ORDER BY method
"""
METHODS = """
SELECT method, count(*) AS traces, count(first_error) AS decided,
       count(*) FILTER (first_error >= 0) AS errors, count(error) AS failed,
       sum(rollouts) AS rollouts, sum(generated_tokens) AS tokens
FROM annotations WHERE method <> 'oracle' GROUP BY method ORDER BY method
"""
# The most frequent error of each method.
ERRORS = """
SELECT method, arg_max(error, n), max(n) FROM (
  SELECT method, error, count(*) AS n FROM annotations WHERE error IS NOT NULL GROUP BY ALL
)
GROUP BY method ORDER BY method
"""
UNKNOWN_OUTCOMES = """
SELECT outcome_reason, count(*) FROM traces
WHERE found_by IS NULL AND outcome = 'unknown' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3
"""
FAILED_SHARES = """
SELECT method, count(error) / count(*) FROM annotations GROUP BY method
"""
# Samples of easy problems repeat: copies of a solution train nothing new.
LABELS = """
SELECT count(*) AS traces, count(*) FILTER (kept) AS kept,
       count(*) FILTER (kept AND first_error >= 0) AS errors,
       count(DISTINCT hash(problem_id, array_to_string(traces.steps, ''))) FILTER (kept) AS distinct
FROM labels LEFT JOIN traces USING (trace_id)
"""
FLAWED_POSITIVES = "SELECT count(*) FROM classes WHERE kept AND class = 'flawed positive'"
# The reason of a filter starts with the filter's name; the reasons of labelers do not.
DROPPED = """
SELECT split_part(reason, ': ', 1), count(*) FROM labels
WHERE NOT kept GROUP BY 1 ORDER BY 2 DESC, 1
"""
CARRIED_OVER = "SELECT count(*) FROM stale_labels WHERE is_carried_over"
SET_ASIDE = """
SELECT reason, count(*) FROM stale_labels WHERE NOT is_carried_over GROUP BY 1 ORDER BY 2 DESC, 1
"""
AGREEMENT = """
SELECT count(*) FILTER (a.first_error = b.first_error) / nullif(count(*), 0)
FROM annotations a JOIN annotations b USING (trace_id)
WHERE a.method < b.method
  AND a.method <> 'oracle' AND NOT regexp_matches(a.method, '^human(_|$)')
  AND b.method <> 'oracle' AND NOT regexp_matches(b.method, '^human(_|$)')
  AND a.first_error IS NOT NULL AND b.first_error IS NOT NULL
"""
# The sum of a BIGINT column is a HUGEINT, which Arrow would return as a Decimal.
TOKENS = """
SELECT method, coalesce(sum(prompt_tokens), 0)::BIGINT, coalesce(sum(generated_tokens), 0)::BIGINT
FROM (
    SELECT '' AS method, prompt_tokens, generated_tokens FROM traces WHERE found_by IS NULL
    UNION ALL
    SELECT method, prompt_tokens, generated_tokens FROM annotations
)
GROUP BY method
"""
EXCERPT_CHARACTERS = 60
# The summary is made in the process of the run, whose memory must not grow with the dataset. DuckDB
# writes what is more to the disk. A process that summarizes a million traces needs 400 MiB besides.
MEMORY_MIB = 384
# A run stores completions in a file per shard, and reading their footers takes as long as a query.
KINDS = frozenset(SCHEMAS) - {"completions"}

Row = tuple[str, str]


def summary_rows(
    dataset: Dataset,
    meter: Meter,
    prices: Prices,
    price_factors: Mapping[str, float] | None = None,
    filters: Collection[str] = (),
) -> Sequence[Mapping[str, str]]:
    """Return the content of a dataset and the cost of this run, as rows of `what` and `count`.

    Args:
        dataset: The dataset.
        meter: The counters of this run.
        prices: The prices of tokens.
        price_factors: The price of a token as a part of the usual one, by method; "" is that of the
            traces. It is 1 where it is missing.
        filters: The ids of filters from plugin files; those of other filters are known.
    """
    with query_session(dataset, memory_mib=MEMORY_MIB, kinds=KINDS) as ask:
        rows = [
            *_source_rows(ask),
            *_annotation_rows(ask),
            *_removed_rows(meter),
            *_human_label_rows(ask),
            *_label_rows(ask, {*available("filters"), *filters}),
            *_token_rows(ask, prices, price_factors or {}),
            *_damage_rows(meter),
            *_fault_rows(meter),
            ("this run", _this_run(meter)),
            *_stopped_rows(meter),
        ]
    return [{"what": what, "count": count} for what, count in rows]


def slice_rows(meter: Meter, part: Slice) -> Sequence[Mapping[str, str]]:
    """Return what this run has made of a slice of the shards, as rows of `what` and `count`."""
    rows = [("shards", str(part))]
    for stage in sorted(meter.done.keys() | meter.skipped.keys()):
        text = str(meter.finished(stage))
        if meter.failed[stage]:
            text += f", {meter.failed[stage]} failed"
        rows.append((stage, text))
    rows.extend(_damage_rows(meter))
    rows.extend(_fault_rows(meter))
    rows.append(("this run", _this_run(meter)))
    rows.extend(_stopped_rows(meter))
    return [{"what": what, "count": count} for what, count in rows]


def failed_methods(
    dataset: Dataset, methods: Sequence[str], failed_share: float
) -> Mapping[str, float]:
    """Return the share of failures by method, for the methods that failed more often than that.

    The dataset may have annotations of methods that the run file no longer names.
    """
    with query_session(dataset, memory_mib=MEMORY_MIB, kinds=kinds_read(FAILED_SHARES)) as ask:
        shares = dict(_rows(ask, FAILED_SHARES))
    failed = dict[str, float]()
    for method in methods:
        share = shares.get(method, 0.0)
        if share > failed_share:
            failed[method] = share
    return failed


def _source_rows(ask: RunQuery) -> Sequence[Row]:
    """Return the rows about problems and traces."""
    rows = [("problems", str(_scalar(ask, "SELECT count(*) FROM problems")))]
    rejected = _scalar(ask, "SELECT count(*) FROM rejected")
    if rejected:
        rows.append(("rows set aside", str(rejected)))
    outcomes = _rows(ask, OUTCOMES)
    total = sum(count for _, count in outcomes)
    listing = ", ".join(f"{count} {outcome}" for outcome, count in outcomes)
    rows.append(("traces", f"{total}: {listing}"))
    reasons = _rows(ask, UNKNOWN_OUTCOMES)
    if reasons:
        listing = "; ".join(f"{count}: {_excerpt(reason)}" for reason, count in reasons)
        rows.append(("unknown outcomes", listing))
    rejections = _rows(ask, REJECTED_REQUESTS)
    if rejections:
        most_frequent = rejections[0][0]
        total = sum(count for _, count in rejections)
        rows.append(("rejected by the engine", f"{total}: {most_frequent}"))
    without_text = _scalar(ask, WITHOUT_TEXT)
    if without_text:
        rows.append(("traces without text", str(without_text)))
    unfinished = _rows(ask, UNFINISHED)
    if unfinished:
        listing = ", ".join(f"{count} {reason}" for reason, count in unfinished)
        text = f"{listing}: their outcomes and verdicts are unknown"
        rows.append(("unusual finish reasons", text))
    return rows


def _annotation_rows(ask: RunQuery) -> Sequence[Row]:
    """Return the rows about methods: their first errors, cost, discovered traces and agreement."""
    rows = list[Row]()
    for method, traces, decided, errors, failed, rollouts, tokens in _rows(ask, METHODS):
        text = (
            f"{errors} first errors, {decided - errors} without error, {traces - decided} undecided"
        )
        if failed:
            text += f", {failed} failed"
        rows.append((method, f"{text}; {rollouts} rollouts, {tokens} tokens"))
    for method, error, count in _rows(ask, ERRORS):
        rows.append((f"failures of {method}", f"most often ({count}): {_excerpt(error)}"))
    for method, count, outcomes in _rows(ask, DISCOVERED):
        rows.append((f"discovered by {method}", f"{count}: {outcomes}"))
    rows.extend(_unread_reply_rows(ask))
    agreement = _scalar(ask, AGREEMENT)
    if agreement is not None:
        rows.append(("agreement of two methods", f"{agreement:.1%} of their common traces"))
    return rows


def _unread_reply_rows(ask: RunQuery) -> Sequence[Row]:
    """Return a row for each method with replies of judges that have no verdict."""
    rows = list[Row]()
    for method, total, unread, truncated, example in _rows(ask, UNREAD_REPLIES):
        if not unread:
            continue
        text = f"{unread} of {total} ({unread / total:.1%})"
        if truncated:
            text += f", {truncated} of them not complete"
        example = _excerpt(example)
        rows.append((f"unreadable replies of {method}", f"{text}; the first: {example!r}"))
    return rows


def _removed_rows(meter: Meter) -> Sequence[Row]:
    """Return a row about annotations that this run removed and cannot make again."""
    if not meter.removed:
        return []
    listing = ", ".join(f"{count} by {name}" for name, count in sorted(meter.removed.items()))
    text = f"{listing}: their traces have changed, and the run file does not name these methods"
    return [("annotations removed", text)]


def _human_label_rows(ask: RunQuery) -> Sequence[Row]:
    """Return the rows about labels of people that were made on other steps or traces."""
    rows = list[Row]()
    carried_over = _scalar(ask, CARRIED_OVER)
    if carried_over:
        rows.append(("human labels carried over", f"{carried_over}: made on other steps"))
    reasons = _rows(ask, SET_ASIDE)
    if reasons:
        total = sum(count for _, count in reasons)
        listing = ", ".join(f"{count} because {reason}" for reason, count in reasons)
        rows.append(("human labels set aside", f"{total}: {listing} (table stale_labels)"))
    return rows


def _label_rows(ask: RunQuery, filters: Collection[str]) -> Sequence[Row]:
    """Return the rows about labels and filters, of which `filters` are the ids."""
    rows = list[Row]()
    traces, kept, errors, distinct = _rows(ask, LABELS)[0]
    if traces:
        text = (
            f"{kept} of {traces} ({kept / traces:.1%}), {distinct} distinct: "
            f"{errors} with a first error, {kept - errors} without"
        )
        rows.append(("labels kept", text))
    flawed = _scalar(ask, FLAWED_POSITIVES)
    if flawed:
        text = f"{flawed} of the kept labels: a correct answer with an incorrect step"
        rows.append(("flawed positives", text))
    if traces:
        counts = count_format_rows(ask)
        rows.append(("trainable rows", counts.trainable_rows()))
        listing = ", ".join(f"{name} {count}" for name, count in counts.by_format.items())
        if kept:
            rows.append(("trainable rows per format", listing))
    for name, count in _rows(ask, DROPPED):
        if name in filters:
            rows.append((f"dropped by {name}", str(count)))
    return rows


def _token_rows(ask: RunQuery, prices: Prices, price_factors: Mapping[str, float]) -> Sequence[Row]:
    """Return the rows about all tokens of the dataset and their price."""
    prompt = 0
    generated = 0
    cost = 0.0
    for method, method_prompt, method_generated in _rows(ask, TOKENS):
        prompt += method_prompt
        generated += method_generated
        full_price = prices.of(method_prompt, method_generated) or 0.0
        cost += price_factors.get(method, 1.0) * full_price
    rows = [("tokens", f"{prompt} read, {generated} written")]
    if prices.of(prompt, generated) is not None:
        rows.append(("cost", f"{cost:.2f}"))
    return rows


def _damage_rows(meter: Meter) -> Sequence[Row]:
    """Return a row for each damaged file of completions, since a run requests these again."""
    return [("damaged completions", line) for line in sorted(meter.damaged)]


def _fault_rows(meter: Meter) -> Sequence[Row]:
    """Return a row about the faults of the engines in this run, the most frequent first."""
    if not meter.faults:
        return []
    by_engine = dict[str, list[str]]()
    for name, count in meter.faults.most_common():
        engine, _, kind = name.partition(": ")
        by_engine.setdefault(engine, []).append(f"{count} {kind}")
    listing = [f"{engine}: {', '.join(kinds)}" for engine, kinds in sorted(by_engine.items())]
    return [("faults of engines", "; ".join(listing))]


def _stopped_rows(meter: Meter) -> Sequence[Row]:
    """Return a row that says why the run stopped before its end, if it did."""
    if not meter.stopped:
        return []
    return [("stopped", f"{meter.stopped}; the same command continues the run")]


def _this_run(meter: Meter) -> str:
    """Return the time and throughput of this process."""
    rate = meter.generated_tokens / max(meter.seconds, 1e-9)
    text = f"{meter.seconds:.1f} s, {meter.generated_tokens} tokens written, {rate:.0f}/s"
    # A server can count cached tokens and leave out those of the prompt.
    if meter.cached_tokens and meter.prompt_tokens:
        text += f", {meter.cached_tokens / meter.prompt_tokens:.0%} of prompts cached"
    if meter.reused:
        text += f", {meter.reused} stored completions reused ({meter.reused_tokens} tokens)"
    if meter.aborted:
        text += f", {meter.aborted} completions aborted"
    return text


def _excerpt(text: str) -> str:
    """Return the beginning of a text in one line."""
    return " ".join(text.split())[:EXCERPT_CHARACTERS]


def _rows(ask: RunQuery, sql: str) -> Sequence[tuple[Any, ...]]:
    return list(values(ask(sql)))


def _scalar(ask: RunQuery, sql: str) -> Any:
    return _rows(ask, sql)[0][0]
