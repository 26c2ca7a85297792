"""How many rows each trainer format gives, counted by one SQL query.

An export counts the same, but has to make every row.
"""

from collections.abc import Mapping
from typing import NamedTuple

from stepmark import plugins
from storage.formats.base import NOT_BLANK, HasRowCount
from storage.formats.verifiers.tasks import TAGS
from storage.queries.render import values
from storage.queries.sql import RunQuery

__all__ = ["FormatRows", "count_format_rows"]

KIND = "storage.formats"
# The kept labels with their traces and problems. `verdicts` and `step_values` are those of the
# steps, `texts` the steps themselves. `is_decided`: all steps are correct, or the first other one
# is incorrect; `supervised_texts` are the steps up to it. `has_first_error`: the label also names
# -1, or its index, as the first error (see `decided_first_error` in `storage.formats.base`), which
# is `first_error`. `is_supervised`: a trainer of hard labels can use them (see `supervised_steps`
# in `storage.formats.base`), and `is_supervised_with_mask`: one that can mask undecided steps.
# `replies` are the requests that judges replied to, one for each reply, and `agreements` says
# whether the reply agrees with the label (see "first_error" in
# `storage.formats.verifiers.agreement`): NULL if it cannot be compared. Both are NULL without
# replies. `is_right`: the solution is one to imitate (see
# `storage.formats.solutions.quality`).
EXAMPLES = f"""
WITH critiques_by_trace AS (
  SELECT trace_id, list({{
    'request': {{'method': method, 'prompt': prompt, 'step': step}}, 'step': step,
    'verdicts': verdicts, 'first_error': first_error,
    'is_usable': request IS NOT NULL AND finish_reason = 'stop'
  }}) AS critiques
  FROM critiques GROUP BY trace_id
),
joined AS (
  SELECT problem_id, found_by, outcome, traces.metadata AS metadata, question,
    traces.steps AS texts,
    [step.label FOR step IN labels.steps] AS verdicts,
    [step.value FOR step IN labels.steps] AS step_values, answer, critiques,
    labels.first_error AS label_first_error
  FROM labels JOIN traces USING (trace_id) JOIN problems USING (problem_id)
    LEFT JOIN critiques_by_trace USING (trace_id)
  WHERE kept AND len(labels.steps) = len(traces.steps)
),
positions AS (
  SELECT *,
    -- From 1; without another step one more than the number of steps.
    coalesce(
      nullif(list_position([verdict = 'correct' FOR verdict IN verdicts], false), 0),
      len(verdicts) + 1
    ) AS first_other,
    coalesce(nullif(list_position(verdicts, 'incorrect'), 0), len(verdicts)) AS first_incorrect,
    [NOT regexp_matches(text, '{NOT_BLANK}') FOR text IN texts] AS are_blank
  FROM joined
),
examples AS (
  SELECT *,
    texts[1:first_other] AS supervised_texts,
    len(texts) > 0 AND coalesce(verdicts[first_other] = 'incorrect', true) AS is_decided,
    is_decided AND coalesce(
      label_first_error = if(first_other > len(texts), -1, first_other - 1), false
    ) AS has_first_error,
    CASE WHEN has_first_error THEN label_first_error END AS first_error,
    [critique.request FOR critique IN critiques] AS replies,
    [CASE
      WHEN NOT critique.is_usable THEN NULL
      WHEN critique.step IS NULL THEN critique.first_error = first_error
      WHEN critique.step < 0 OR len(critique.verdicts) <> 1 THEN NULL
      WHEN 'unknown' IN (verdicts[critique.step + 1], critique.verdicts[1]) THEN NULL
      ELSE critique.verdicts[1] = verdicts[critique.step + 1]
    END FOR critique IN critiques] AS agreements,
    is_decided AND NOT coalesce(list_bool_or(are_blank[1:first_other]), false)
      AS is_supervised,
    coalesce(list_bool_or([verdict <> 'unknown' FOR verdict IN verdicts]), false)
      AND NOT coalesce(list_bool_or(are_blank[1:first_incorrect]), false)
      AS is_supervised_with_mask,
    coalesce(list_bool_or(are_blank), false) AS has_blank_step,
    list_bool_or([
      contains(text, '{TAGS[0]}') OR contains(text, '{TAGS[1]}')
      FOR text IN list_concat([question, coalesce(answer, '')], texts)
    ]) AS has_paragraph_tag,
    NOT coalesce(list_bool_and(are_blank), true) AS has_text,
    has_text AND outcome = 'correct' AND NOT list_contains(verdicts, 'incorrect') AS is_right,
    coalesce(list_bool_or([value IS NOT NULL FOR value IN step_values]), false) AS has_value
  FROM positions
)
"""


# Other formats with hard labels have the same rows, unless a text contains their marker.
HARD_LABELS = "trl"
# Why a kept label is no row of it, in the words and the order of `supervised_steps`.
LEFT_OUT: Mapping[str, str] = {
    "it has no steps": "len(texts) = 0",
    "a step is undecided": "len(texts) > 0 AND NOT is_decided",
    "a step is blank": "is_decided AND NOT is_supervised",
}
# The reasons of filters and of most labelers begin with a name and a colon; the other reasons are
# texts with numbers, which would be a line each.
NOT_KEPT = """
SELECT CASE WHEN contains(reason, ': ') THEN split_part(reason, ': ', 1) END AS cause, count(*)
FROM labels WHERE NOT kept GROUP BY cause ORDER BY count(*) DESC, cause
"""
TOTALS = """
SELECT (SELECT count(*) FROM traces), (SELECT count(*) FROM labels),
  (SELECT count(*) FROM labels WHERE kept)
"""
MAX_CAUSES = 6


class FormatRows(NamedTuple):
    """The rows that the labels of a dataset give."""

    by_format: Mapping[str, int]
    """The number of rows of each format that declares how to count them."""
    traces: int
    left_out: Mapping[str, int]
    """How many traces are no row of `HARD_LABELS`, by reason."""

    def trainable_rows(self) -> str:
        """Return how many traces are rows of `HARD_LABELS`, and why the others are not."""
        text = f"{self.by_format[HARD_LABELS]} of {self.traces} in {HARD_LABELS}"
        if not self.left_out:
            return text
        reasons = ", ".join(f"{count} × {reason}" for reason, count in self.left_out.items())
        return f"{text} ({reasons})"


def count_format_rows(run_query: RunQuery) -> FormatRows:
    """Return the numbers of rows, by format and by reason."""
    counts = dict[str, str]()
    for name in plugins.available(KIND):
        plugin = plugins.load(KIND, name)
        if isinstance(plugin, HasRowCount):
            counts[name] = plugin.row_count
    reasons = [f"count(*) FILTER ({condition})" for condition in LEFT_OUT.values()]
    columns = [*counts.values(), "count(*)", *reasons]
    (row,) = values(run_query(f"{EXAMPLES} SELECT {', '.join(columns)} FROM examples"))
    examples, *without_row = row[len(counts) :]
    ((traces, labels, kept),) = values(run_query(TOTALS))
    left_out = {
        "it has no label": traces - labels,
        **_not_kept(run_query),
        "its label is of another number of steps": kept - examples,
        **dict(zip(LEFT_OUT, without_row, strict=True)),
    }
    return FormatRows(
        by_format=dict(zip(counts, row[: len(counts)], strict=True)),
        traces=traces,
        left_out={reason: count for reason, count in left_out.items() if count > 0},
    )


def _not_kept(run_query: RunQuery) -> Mapping[str, int]:
    """Return the number of labels that are not kept by cause, the most frequent ones by name."""
    by_cause = dict[str, int]()
    reason = "its label is not kept"
    for cause, count in values(run_query(NOT_KEPT)):
        name = f"{reason}: {cause}"
        if cause is None or len(by_cause) >= MAX_CAUSES:
            name = reason
        by_cause[name] = by_cause.get(name, 0) + count
    return by_cause
