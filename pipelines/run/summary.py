"""The tables a run and a score end with: read back from the dataset by SQL, so they say what is on disk."""

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.table import Table
from rich.text import Text

from annotators.estimates import value_drop
from pipelines.run.config import Prices
from pipelines.run.meter import Meter
from pipelines.scoring.metrics import Bin, Case, Score, score
from pipelines.terminal import visible
from stepmark.plugins import available
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.queries.render import values
from storage.queries.sql import Ask, asking, query

__all__ = ["SPLITS", "reliability_table", "score_table", "scores", "summary_rows"]

OUTCOMES = (
    "SELECT outcome, count(*) FROM traces WHERE found_by IS NULL GROUP BY outcome ORDER BY outcome"
)
DISCOVERED = """
SELECT found_by, sum(n)::BIGINT, string_agg(n || ' ' || outcome, ', ' ORDER BY outcome)
FROM (SELECT found_by, outcome, count(*) AS n FROM traces WHERE found_by IS NOT NULL GROUP BY ALL) GROUP BY found_by ORDER BY found_by
"""
REFUSED = """
SELECT finish_reason, count(*) FROM traces WHERE starts_with(finish_reason, 'error: ') GROUP BY 1 ORDER BY 2 DESC, 1
"""
METHODS = """
SELECT method, count(*) AS traces, count(first_error) AS decided, count(*) FILTER (first_error >= 0) AS errors,
       count(error) AS failed, sum(rollouts) AS rollouts, sum(generated_tokens) AS tokens, sum(seconds) AS seconds
FROM annotations WHERE method <> 'oracle' GROUP BY method ORDER BY method
"""
LABELS = """
SELECT count(*) AS traces, count(*) FILTER (kept) AS kept, count(*) FILTER (kept AND first_error >= 0) AS errors FROM labels
"""
FLAWED = "SELECT count(*) FROM classes WHERE kept AND class = 'flawed positive'"
# A filter's reason starts with its name; what a labeler says when it keeps nothing does not.
DROPPED = "SELECT split_part(reason, ': ', 1), count(*) FROM labels WHERE NOT kept GROUP BY 1 ORDER BY 2 DESC, 1"
AGREEMENT = """
SELECT count(*) FILTER (a.first_error = b.first_error) / nullif(count(*), 0)
FROM annotations a JOIN annotations b USING (trace_id)
WHERE a.method < b.method AND a.method NOT IN ('oracle', 'human') AND b.method NOT IN ('oracle', 'human')
  AND a.first_error IS NOT NULL AND b.first_error IS NOT NULL
"""
# A sum of BIGINT is a HUGEINT, which Arrow hands over as a Decimal.
TOKENS = "SELECT coalesce(sum(prompt_tokens), 0)::BIGINT, coalesce(sum(generated_tokens), 0)::BIGINT FROM "
OWN = "traces WHERE found_by IS NULL"  # a discovered trace is a rollout, and on its method's bill
SET_ASIDE = "SELECT count(*) FROM rejected"
MILLION = 1_000_000
PICTURE = 40
"""Characters of a whole bar."""


def summary_rows(dataset: Dataset, meter: Meter, prices: Prices) -> Sequence[Mapping[str, str]]:
    """What the dataset holds and what this run spent, as rows of `what` and `count`."""
    with asking(dataset) as ask:
        rows = [*_held(ask), *_bill(ask, meter, prices)]
    return [{"what": what, "count": count} for what, count in rows]


def _held(ask: Ask) -> Sequence[tuple[str, str]]:
    rows = [("problems", str(_one(ask, "SELECT count(*) FROM problems")))]
    if aside := _one(ask, SET_ASIDE):
        rows.append(("rows set aside", str(aside)))
    outcomes = _rows(ask, OUTCOMES)
    rows.append(
        (
            "traces",
            f"{sum(n for _, n in outcomes)}: "
            + ", ".join(f"{n} {outcome}" for outcome, n in outcomes),
        )
    )
    if refused := _rows(ask, REFUSED):
        rows.append(("refused by the engine", f"{sum(n for _, n in refused)}: {refused[0][0]}"))
    for method, traces, decided, errors, failed, rollouts, tokens, _ in _rows(ask, METHODS):
        told = (
            f"{errors} first errors, {decided - errors} without error, {traces - decided} undecided"
        )
        told += f", {failed} failed" if failed else ""
        rows.append((method, f"{told}; {rollouts} rollouts, {tokens} tokens"))
    rows += [
        (f"discovered by {method}", f"{count}: {outcomes}")
        for method, count, outcomes in _rows(ask, DISCOVERED)
    ]
    agreement = _one(ask, AGREEMENT)
    if agreement is not None:
        rows.append(("agreement of two methods", f"{agreement:.1%} of their common traces"))
    traces, kept, errors = _rows(ask, LABELS)[0]
    if traces:
        told = f"{kept} of {traces} ({kept / traces:.1%}): {errors} with a first error, {kept - errors} without"
        rows.append(("labels kept", told))
    if flawed := _one(ask, FLAWED):
        rows.append(("flawed positives", f"{flawed} of the kept: a right answer with a wrong step"))
    rows += [
        (f"dropped by {name}", str(count))
        for name, count in _rows(ask, DROPPED)
        if name in available("filters")
    ]
    return rows


def _bill(ask: Ask, meter: Meter, prices: Prices) -> Sequence[tuple[str, str]]:
    (prompt, generated), (more_prompt, more_generated) = (
        _rows(ask, TOKENS + OWN)[0],
        _rows(ask, TOKENS + "annotations")[0],
    )
    prompt, generated = prompt + more_prompt, generated + more_generated
    rows = [("tokens", f"{prompt} read, {generated} written")]
    if prices.prompt or prices.generated:
        rows.append(
            ("cost", f"{(prompt * prices.prompt + generated * prices.generated) / MILLION:.2f}")
        )
    rate = meter.generated_tokens / max(meter.seconds, 1e-9)
    aborted = f", {meter.aborted} completions aborted" if meter.aborted else ""
    cached = (
        f", {meter.cached_tokens / meter.prompt_tokens:.0%} of prompts cached"
        if meter.cached_tokens
        else ""
    )
    rows.append(
        (
            "this run",
            f"{meter.seconds:.1f} s, {meter.generated_tokens} tokens written, {rate:.0f}/s{cached}{aborted}",
        )
    )
    return rows


SAID = """
FROM (
  SELECT trace_id, method, first_error AS predicted, list_transform(steps, lambda s: s.verdict) AS verdicts,
         list_transform(steps, lambda s: s.value) AS step_values, first_error AS believed, confidence, generated_tokens AS tokens
  FROM annotations
  UNION ALL
  SELECT trace_id, NULL, CASE WHEN kept THEN first_error END, list_transform(steps, lambda s: s.label),
         list_transform(steps, lambda s: s.value), first_error, confidence, 0
  FROM labels
) JOIN traces USING (trace_id) JOIN problems USING (problem_id)
SELECT trace_id, method, predicted, verdicts, step_values, believed, confidence, tokens, outcome = 'correct', {by}
"""
# What scores can be split by, and the column that says it; imported traces name their model.
SPLITS: Mapping[str, str] = {"": "''", "domain": "domain", "source": "source", "model": "model"}


def scores(
    dataset: Dataset, gold: Mapping[str, int], *, but: str = "", by: str = ""
) -> Mapping[tuple[str, str], Score]:
    """The score of every method but one, and last of the labels, against gold first errors by trace; by (part of the data, method).

    Methods are compared at the share of the traces whose labels are kept.
    """
    found: dict[tuple[str, bool, str], list[Case]] = {}
    labels = _labels_name(dataset)
    for trace_id, method, *said, part in values(query(dataset, SAID.format(by=SPLITS[by]))):
        if trace_id in gold and method != but:
            found.setdefault((part, method is None, method or labels), []).append(
                _case(gold[trace_id], *said)
            )
    kept = {
        part: sum(case.predicted is not None for case in cases) / len(cases)
        for (part, are_labels, _), cases in found.items()
        if are_labels
    }
    return {
        (part, method): score(cases, share=kept.get(part))
        for (part, _, method), cases in sorted(found.items())
    }


def _labels_name(dataset: Dataset) -> str:
    """What the labels are called beside the methods, none of which can be called so: after the last run file's labeler."""
    for text in reversed(dataset.read_run_files()):
        with suppress(tomllib.TOMLDecodeError):
            if isinstance(label := tomllib.loads(text).get("label"), Mapping):
                return f"labels ({label.get('use')})"
    return "labels (whose?)"


def _case(
    gold: int,
    predicted: int | None,
    steps: Sequence[str],
    values: Sequence[float | None],
    believed: int | None,
    confidence: float | None,
    tokens: int,
    right_answer: bool,
) -> Case:
    return Case(
        gold=gold,
        predicted=predicted,
        steps=[Verdict(step) for step in steps],
        right_answer=right_answer,
        believed=believed,
        confidence=confidence,
        sureness=0.0 if predicted is None else value_drop(values, predicted),
        tokens=tokens,
    )


def score_table(scored: Mapping[tuple[str, str], Score], title: str, by: str = "") -> Table:
    """The scores for a terminal."""
    table = Table(title=Text(visible(title)), title_justify="left")
    for column in (*[by] * bool(by), "method"):
        table.add_column(column)
    columns = (
        "traces",
        "decided",
        "exact",
        "at equal share",
        "acc. wrong",
        "acc. right",
        "F1",
        "step prec.",
        "recall",
        "F1",
        "flawed found",
        "ECE",
        "tokens",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for (part, method), s in scored.items():
        shares = (
            s.exact,
            s.exact_at_share,
            s.accuracy_wrong,
            s.accuracy_right,
            s.f1,
            s.step_precision,
            s.step_recall,
            s.step_f1,
        )
        found, tokens = (
            f"{s.flawed_found}/{s.flawed_positives}",
            "–" if s.tokens is None else f"{s.tokens:.0f}",
        )
        names = (Text(visible(name)) for name in (*[part] * bool(by), method))
        table.add_row(
            *names,
            str(s.traces),
            str(s.decided),
            *map(_percent, shares),
            found,
            _percent(s.calibration_error),
            tokens,
        )
    return table


def reliability_table(scored: Mapping[tuple[str, str], Score]) -> Table:
    """How often what is said with a confidence is right, tenth by tenth; in the picture the bar is the accuracy, `|` the confidence."""
    table = Table(title="reliability: confidence and accuracy, in %", title_justify="left")
    for column in ("method", "confidence", "traces", "mean", "accuracy", "picture"):
        table.add_column(
            column, justify="right" if column in ("traces", "mean", "accuracy") else "left"
        )
    for (part, method), s in scored.items():
        for one in s.reliability:
            span = f"{100 * one.low:.0f}–{100 * one.low + 10:.0f}"
            name = Text(visible(f"{part} {method}".strip()))
            table.add_row(
                name,
                span,
                str(one.traces),
                _percent(one.confidence),
                _percent(one.accuracy),
                _picture(one),
            )
    return table


def _picture(one: Bin) -> str:
    bar = "█" * round(PICTURE * one.accuracy)
    place = min(round(PICTURE * one.confidence), PICTURE - 1)
    cells = bar.ljust(PICTURE, "·")
    return f"{cells[:place]}|{cells[place + 1 :]}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _rows(ask: Ask, sql: str) -> Sequence[tuple[Any, ...]]:
    return list(values(ask(sql)))


def _one(ask: Ask, sql: str) -> Any:
    return _rows(ask, sql)[0][0]
