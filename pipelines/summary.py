"""The tables a run and a score end with: read back from the dataset by SQL, so they say what is on disk."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines._terminal import visible
from pipelines.config import Prices
from pipelines.meter import Meter
from pipelines.scoring import Case, Score, score
from stepmark.records import Verdict
from storage.dataset import Dataset
from storage.render import values
from storage.sql import query

__all__ = ["score_table", "scores", "summary_rows"]

OUTCOMES = "SELECT outcome, count(*) FROM traces GROUP BY outcome ORDER BY outcome"
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
AGREEMENT = """
SELECT count(*) FILTER (a.first_error = b.first_error) / nullif(count(*), 0)
FROM annotations a JOIN annotations b USING (trace_id)
WHERE a.method < b.method AND a.method NOT IN ('oracle', 'human') AND b.method NOT IN ('oracle', 'human')
  AND a.first_error IS NOT NULL AND b.first_error IS NOT NULL
"""
# A sum of BIGINT is a HUGEINT, which Arrow hands over as a Decimal.
TOKENS = "SELECT coalesce(sum(prompt_tokens), 0)::BIGINT, coalesce(sum(generated_tokens), 0)::BIGINT FROM "
SET_ASIDE = "SELECT count(*) FROM rejected"
MILLION = 1_000_000


def summary_rows(dataset: Dataset, meter: Meter, prices: Prices) -> Sequence[Mapping[str, str]]:
    """What the dataset holds and what this run spent, as rows of `what` and `count`."""
    rows = [("problems", str(_one(dataset, "SELECT count(*) FROM problems")))]
    if aside := _one(dataset, SET_ASIDE):
        rows.append(("rows set aside", str(aside)))
    outcomes = _rows(dataset, OUTCOMES)
    rows.append(("traces", f"{sum(n for _, n in outcomes)}: " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes)))
    if refused := _rows(dataset, REFUSED):
        rows.append(("refused by the engine", f"{sum(n for _, n in refused)}: {refused[0][0]}"))
    for method, traces, decided, errors, failed, rollouts, tokens, _ in _rows(dataset, METHODS):
        told = f"{errors} first errors, {decided - errors} without error, {traces - decided} undecided"
        told += f", {failed} failed" if failed else ""
        rows.append((method, f"{told}; {rollouts} rollouts, {tokens} tokens"))
    agreement = _one(dataset, AGREEMENT)
    if agreement is not None:
        rows.append(("agreement of two methods", f"{agreement:.1%} of their common traces"))
    traces, kept, errors = _rows(dataset, LABELS)[0]
    if traces:
        told = f"{kept} of {traces} ({kept / traces:.1%}): {errors} with a first error, {kept - errors} without"
        rows.append(("labels kept", told))
    rows += _bill(dataset, meter, prices)
    return [{"what": what, "count": count} for what, count in rows]


def _bill(dataset: Dataset, meter: Meter, prices: Prices) -> Sequence[tuple[str, str]]:
    (prompt, generated), (more_prompt, more_generated) = _rows(dataset, TOKENS + "traces")[0], _rows(dataset, TOKENS + "annotations")[0]
    prompt, generated = prompt + more_prompt, generated + more_generated
    rows = [("tokens", f"{prompt} read, {generated} written")]
    if prices.prompt or prices.generated:
        rows.append(("cost", f"{(prompt * prices.prompt + generated * prices.generated) / MILLION:.2f}"))
    rate = meter.generated_tokens / max(meter.seconds, 1e-9)
    rows.append(("this run", f"{meter.seconds:.1f} s, {meter.generated_tokens} tokens written, {rate:.0f}/s"))
    return rows


SAID = """
SELECT trace_id, a.first_error AS predicted, list_transform(a.steps, lambda s: s.verdict) AS steps, a.method AS method
FROM annotations a
UNION ALL
SELECT trace_id, CASE WHEN kept THEN first_error END, list_transform(steps, lambda s: s.label), 'consensus' FROM labels
"""
RIGHT_ANSWERS = "SELECT trace_id FROM traces WHERE outcome = 'correct'"


def scores(dataset: Dataset, gold: Mapping[str, int], *, but: str = "") -> Mapping[str, Score]:
    """The score of every method but one, and of the consensus' kept labels, against gold first errors by trace."""
    found: dict[str, list[Case]] = {}
    right = {trace_id for (trace_id,) in _rows(dataset, RIGHT_ANSWERS)}
    for trace_id, predicted, steps, method in _rows(dataset, SAID):
        if trace_id in gold and method != but:
            case = Case(gold=gold[trace_id], predicted=predicted, steps=[Verdict(s) for s in steps], right_answer=trace_id in right)
            found.setdefault(method, []).append(case)
    return {method: score(cases) for method, cases in sorted(found.items())}


def score_table(scored: Mapping[str, Score], title: str) -> Table:
    """The scores for a terminal."""
    table = Table(title=Text(visible(title)), title_justify="left")
    table.add_column("method")
    columns = ("traces", "decided", "exact", "acc. wrong", "acc. right", "F1", "step prec.", "step recall", "flawed found")
    for column in columns:
        table.add_column(column, justify="right")
    for method, s in scored.items():
        shares = (s.exact, s.accuracy_wrong, s.accuracy_right, s.f1, s.step_precision, s.step_recall)
        table.add_row(method, str(s.traces), str(s.decided), *map(_percent, shares), f"{s.flawed_found}/{s.flawed_positives}")
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _rows(dataset: Dataset, sql: str) -> Sequence[tuple[Any, ...]]:
    return list(values(query(dataset, sql)))


def _one(dataset: Dataset, sql: str) -> Any:
    return _rows(dataset, sql)[0][0]
