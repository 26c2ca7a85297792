"""The scores of all methods of a dataset and of its labels, from one SQL query."""

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from annotators.estimates import value_drop
from pipelines.scoring.metrics import Case, Score, one_per_text, score
from stepmark.plugin_files import id_of
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN, is_human
from storage.queries.render import values
from storage.queries.sql import query

__all__ = ["scores"]

# One row per trace and method, and one per label with a NULL method.
PREDICTIONS = """
FROM (
  SELECT trace_id, method, first_error AS predicted,
         list_transform(steps, lambda s: s.verdict) AS verdicts,
         list_transform(steps, lambda s: s.value) AS step_values,
         first_error AS stated_error, confidence, generated_tokens AS tokens
  FROM annotations
  UNION ALL
  SELECT trace_id, NULL, CASE WHEN kept THEN first_error END,
         list_transform(steps, lambda s: s.label),
         list_transform(steps, lambda s: s.value),
         first_error, confidence, 0
  FROM labels
) JOIN traces USING (trace_id) JOIN problems USING (problem_id)
SELECT trace_id, method, {by}, predicted, verdicts, step_values, stated_error, confidence, tokens,
       outcome = 'correct', hash(problem_id, array_to_string(traces.steps, ''))
ORDER BY trace_id
"""
# The SQL expression of each column that scores can be broken down by.
SPLITS: Mapping[str, str] = {"": "''", "domain": "domain", "source": "source", "model": "model"}
# The name of the labels if no run file tells which labeler made them.
UNKNOWN_LABELER = "labels (unknown labeler)"


def scores(
    dataset: Dataset,
    gold: Mapping[str, int],
    *,
    excluded_method: str = "",
    by: str = "",
) -> Mapping[tuple[str, str], Score]:
    """Score every method of a dataset, and its labels, against gold first errors.

    Methods are compared at the share of the distinct texts that have a kept label
    (`Score.exact_at_share`).

    Args:
        dataset: The dataset.
        gold: The index of the gold first error by trace id, -1 for none.
        excluded_method: A method that is not scored, such as the one that `gold` comes from. For
            `human`, no method of a person is scored.
        by: Break scores down by this column: domain, source or model; "" for no breakdown.

    Returns:
        The scores by (value of the column, method), sorted; the labels follow the methods.
    """
    # Sorted by (column value, whether these are the labels, method).
    cases_of = defaultdict[tuple[str, bool, str], list[Case]](list)
    labels_name = _labels_name(dataset)
    for trace_id, method, column, *prediction in values(
        query(dataset, PREDICTIONS.format(by=SPLITS[by]))
    ):
        if trace_id in gold and not _is_gold(method, excluded_method):
            key = (column, method is None, method or labels_name)
            cases_of[key].append(_case(gold[trace_id], *prediction))
    kept_share = dict[str, float]()
    for (column, are_labels, _), cases in cases_of.items():
        if are_labels:
            texts = one_per_text(cases)
            kept = sum(case.predicted is not None for case in texts)
            kept_share[column] = kept / len(texts)
    scored = dict[tuple[str, str], Score]()
    for (column, _, method), cases in sorted(cases_of.items(), key=lambda item: item[0]):
        scored[column, method] = score(cases, share=kept_share.get(column))
    return scored


def _is_gold(method: str | None, gold_method: str) -> bool:
    """Return whether the gold first errors can come from a method."""
    if method is None:
        return False
    return method == gold_method or (gold_method == HUMAN and is_human(method))


def _labels_name(dataset: Dataset) -> str:
    """Return the name of the labels, after the labeler of the last run file that has one.

    It contains parentheses, so no method can have the same name.
    """
    for text in reversed(dataset.read_run_files()):
        try:
            label = tomllib.loads(text).get("label")
        except (ValueError, RecursionError):
            continue
        if isinstance(label, Mapping):
            return f"labels ({id_of(str(label.get('use')))})"
    return UNKNOWN_LABELER


def _case(
    gold: int,
    predicted: int | None,
    verdicts: Sequence[str],
    step_values: Sequence[float | None],
    stated_error: int | None,
    confidence: float | None,
    tokens: int,
    right_answer: bool,
    text: int,
) -> Case:
    ranking_value = 0.0 if predicted is None else value_drop(step_values, predicted)
    return Case(
        gold=gold,
        predicted=predicted,
        steps=[Verdict(verdict) for verdict in verdicts],
        right_answer=right_answer,
        stated_error=stated_error,
        confidence=confidence,
        ranking_value=ranking_value,
        tokens=tokens,
        text=text,
    )
