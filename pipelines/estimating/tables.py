"""Estimates as rows for the terminal, and as JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from annotators.base import CostBound
from pipelines.estimating.estimate import Amount, Estimate, StageEstimate
from stepmark.visible_text import one_line

__all__ = ["json_fields", "rows"]

UNKNOWN = "unknown without a pilot"
NO_RATE = "unknown: the pilot has generated no tokens that were not stored"
NOTHING_GENERATED = "unknown: scoring calls generate no tokens"
UNITS = ("B", "kB", "MB", "GB", "TB")
# A query on steps opens files of every shard: of a million traces, 150 shards take 1.8 s, and 4,000
# shards 14 s. A worker needs 1 GB while it makes two shards of 5,000 traces.
MANY_SHARDS = 500
SUGGESTED_SHARDS = 200
MOST_TRACES_PER_SHARD = 5000


def json_fields(estimate: Estimate) -> Mapping[str, Any]:
    """Return an estimate as a JSON object; an unknown value is null."""
    return dataclasses.asdict(estimate)


def rows(estimate: Estimate) -> Sequence[Mapping[str, str]]:
    """Return an estimate as rows of `what` and `count`."""
    problems = f"{estimate.problems:,} in {estimate.shards:,} shards"
    if estimate.rejected:
        problems += f", {estimate.rejected:,} rows set aside"
    lines = [("problems", problems)]
    suggested_size = _suggested_shard_size(estimate)
    if suggested_size is not None:
        text = (
            "queries open the files of every shard, which takes seconds; [shards]"
            f" problems_per_shard = {suggested_size} makes"
            f" {math.ceil(estimate.problems / suggested_size)}. A run needs several times as many"
            " shards as workers"
        )
        lines.append(("many shards", text))
    lines.append(("traces", f"{estimate.traces:,}"))
    for name, stage in estimate.stages.items():
        lines.append((_STAGES.get(name, name), _stage(stage, estimate.problems)))
    if estimate.stored_completions:
        text = (
            f"{estimate.stored_completions:,} completions of {estimate.stored_tokens:,} generated"
            " tokens are stored and subtracted"
        )
        lines.append(("reused", text))
    for name, failures in estimate.failures.items():
        if not estimate.stages[name].problems_left:
            continue
        text = (
            f"on {failures.failed:,} of {failures.traces:,} traces of the pilot, so that the"
            f" estimate is too low; most often: {one_line(failures.error)}"
        )
        lines.append((f"failures of {_STAGES.get(name, name)}", text))
    lines.append(("tokens left", _tokens(estimate.generated_tokens, estimate.prompt_tokens)))
    if estimate.cost is not None:
        lines.append(("cost left", _text(estimate.cost, "{:,.2f}")))
    lines.append(("time left", _time(estimate)))
    files = f"{estimate.files:,} files when finished"
    if estimate.bytes is None:
        files = f"at most {files}, size {UNKNOWN}"
    else:
        files = f"about {files}, {_size(estimate.bytes)}"
    lines.append(("dataset", files))
    bases = dict.fromkeys(stage.basis for stage in estimate.stages.values() if stage.problems_left)
    if bases:
        lines.append(("basis", "; ".join(bases)))
    return [{"what": what, "count": count} for what, count in lines]


def _suggested_shard_size(estimate: Estimate) -> int | None:
    """Return the number of problems per shard that makes queries faster; None if none does."""
    if estimate.shards <= MANY_SHARDS:
        return None
    largest = max(1, MOST_TRACES_PER_SHARD * estimate.problems // max(estimate.traces, 1))
    size = min(math.ceil(estimate.problems / SUGGESTED_SHARDS), largest)
    return size if math.ceil(estimate.problems / size) < estimate.shards else None


def _stage(stage: StageEstimate, problems: int) -> str:
    if not stage.problems_left:
        return "finished"
    parts = list[str]()
    for name in ("rollouts", "replies", "scores"):
        amount: Amount | None = getattr(stage, name)
        if amount is not None and (amount.expected or amount.high):
            parts.append(_text(amount, "{:,.0f}") + f" {_NOUNS[name]}")
    if stage.bound_by_steps:
        parts.append(_by_steps(stage.bound_by_steps))
    parts.append(_tokens(stage.generated_tokens, stage.prompt_tokens))
    if stage.problems_left < problems:
        parts.append(f"for {stage.problems_left:,} of {problems:,} problems")
    return "; ".join(parts)


_STAGES = {"traces": "sampling of traces"}
_NOUNS = {"rollouts": "rollouts", "replies": "replies", "scores": "scoring calls"}


def _by_steps(bounds: Mapping[int, CostBound]) -> str:
    """Return the bounds of a trace by its number of steps."""
    steps = ", ".join(map(str, bounds))
    texts = list[str]()
    for name, noun in _NOUNS.items():
        counts = [getattr(bound, name) for bound in bounds.values()]
        if any(counts):
            texts.append(f"{', '.join(f'{count:,}' for count in counts)} {noun}")
    return f"at most {' and '.join(texts) or 'nothing'} for a trace of {steps} steps"


def _tokens(generated: Amount | None, prompt: Amount | None) -> str:
    if generated is None and prompt is None:
        return f"tokens {UNKNOWN}"
    if not any(_is_positive(amount) for amount in (generated, prompt)):
        return "no tokens"
    texts = list[str]()
    for amount, noun in ((generated, "generated tokens"), (prompt, "prompt tokens")):
        if amount is None:
            texts.append(f"{noun} {UNKNOWN}")
        else:
            texts.append(f"{_text(amount, '{:,.0f}')} {noun}")
    return ", ".join(texts)


def _is_positive(amount: Amount | None) -> bool:
    return amount is None or bool(amount.expected or amount.high)


def _text(amount: Amount, form: str) -> str:
    """Return a number with its range, or a bound."""
    if amount.expected is None and amount.high:
        return f"at most {form.format(amount.high)}"
    text = form.format(amount.expected or 0.0)
    if amount.low is None or amount.high is None or amount.low == amount.high:
        return text
    return f"{text} ({form.format(amount.low)} to {form.format(amount.high)})"


def _time(estimate: Estimate) -> str:
    if not _is_positive(estimate.generated_tokens):
        return NOTHING_GENERATED if _is_positive(estimate.prompt_tokens) else "none"
    seconds = estimate.seconds
    rate = estimate.tokens_per_second
    if seconds is None or seconds.expected is None or rate is None:
        return NO_RATE if estimate.pilot_problems else UNKNOWN
    text = _duration(seconds.expected)
    if seconds.low is not None and seconds.high is not None:
        text += f" ({_duration(seconds.low)} to {_duration(seconds.high)})"
    rate_text = f"at the {rate:,.0f} tokens per second of the pilot"
    # A server generates more tokens per second for many requests than for those of a few problems.
    return f"{text} {rate_text}; more requests at once are faster"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _size(size: float) -> str:
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.1f} {UNITS[unit]}"
