"""How many rows each trainer format gives, counted by one SQL query.

An export counts the same, but has to make every row.
"""

from collections.abc import Mapping

from stepmark import plugins
from storage.formats.base import HasRowCount
from storage.queries.render import values
from storage.queries.sql import RunQuery

__all__ = ["count_format_rows"]

KIND = "storage.formats"
# A character that is not white space, as `str.strip` finds it.
NOT_BLANK = r"[^\s\x0b\x1c-\x1f\x85\p{Z}]"
# The kept labels with their traces and problems. `verdicts` and `step_values` are those of the
# steps, `texts` the steps themselves. `has_first_error`: all steps are correct, or the first other
# one is incorrect; `supervised_texts` are the steps up to it. `is_supervised`: a trainer of hard
# labels can use them (see `storage.formats.base.supervised_steps`). `is_right`: the solution is one
# to imitate (see `storage.formats.solutions.conversations`).
EXAMPLES = f"""
WITH joined AS (
  SELECT problem_id, found_by, outcome, traces.metadata AS metadata, question,
    traces.steps AS texts,
    [step.label FOR step IN labels.steps] AS verdicts,
    [step.value FOR step IN labels.steps] AS step_values
  FROM labels JOIN traces USING (trace_id) JOIN problems USING (problem_id)
  WHERE kept AND len(labels.steps) = len(traces.steps)
),
positions AS (
  SELECT *,
    -- From 1; without another step one more than the number of steps.
    coalesce(
      nullif(list_position([verdict = 'correct' FOR verdict IN verdicts], false), 0),
      len(verdicts) + 1
    ) AS first_other,
    [NOT regexp_matches(text, '{NOT_BLANK}') FOR text IN texts] AS are_blank
  FROM joined
),
examples AS (
  SELECT *,
    texts[1:first_other] AS supervised_texts,
    len(texts) > 0 AND coalesce(verdicts[first_other] = 'incorrect', true) AS has_first_error,
    has_first_error AND NOT coalesce(list_bool_or(are_blank[1:first_other]), false)
      AS is_supervised,
    coalesce(list_bool_or(are_blank), false) AS has_blank_step,
    NOT coalesce(list_bool_and(are_blank), true) AS has_text,
    has_text AND outcome = 'correct' AND NOT list_contains(verdicts, 'incorrect') AS is_right,
    coalesce(list_bool_or([value IS NOT NULL FOR value IN step_values]), false) AS has_value
  FROM positions
)
"""


def count_format_rows(run_query: RunQuery) -> Mapping[str, int]:
    """Return the number of rows by format, for all formats that declare how to count them."""
    counts = dict[str, str]()
    for name in plugins.available(KIND):
        plugin = plugins.load(KIND, name)
        if isinstance(plugin, HasRowCount):
            counts[name] = plugin.row_count
    (row,) = values(run_query(f"{EXAMPLES} SELECT {', '.join(counts.values())} FROM examples"))
    return dict(zip(counts, row, strict=True))
