"""The next steps that a problem's solutions try after the same prefix, as SQL text.

A prefix is the exact list of its steps. The solutions are the sampled or imported traces and all
stored rollouts. A discovered trace counts once, as its rollout; its labels are used.
"""

__all__ = ["CONTINUATIONS", "SIBLINGS", "SOLUTIONS"]

# A character of white space, as `str.strip` finds it.
WHITE_SPACE = r"[\s\x0b\x1c-\x1f\x85\p{Z}]"
# Rollouts of versions that did not store their steps have no boundaries.
SOLUTIONS = """
SELECT problem_id, trace_id, NULL::VARCHAR AS method, 0 AS given_steps, steps, outcome,
  finish_reason
FROM traces WHERE found_by IS NULL
UNION ALL
SELECT problem_id, trace_id, rollouts.method, prefix_steps, prefix[:prefix_steps] || steps,
  outcome, finish_reason
FROM rollouts JOIN (SELECT trace_id, problem_id, steps AS prefix FROM traces) USING (trace_id)
WHERE steps IS NOT NULL
"""
# The outcomes of a step are those of the solutions that were free after it: a rollout counts for
# the steps that it wrote and for the last step that it was given.
# A truncated solution does not contain the whole of its last step.
# Verdicts count up to the first step that is not correct: what follows an error continues no sound
# prefix.
CONTINUATIONS = """
CREATE OR REPLACE MACRO continuations(source := 'the labels', but := ['prover']::VARCHAR[]) AS TABLE
WITH tried AS (
  SELECT problem_id, steps[:place] AS prefix, steps[place + 1] AS next_step,
    count(*) FILTER (place >= given_steps) AS samples,
    count(*) FILTER (outcome = 'correct') AS correct,
    count(*) FILTER (outcome = 'incorrect') AS incorrect,
    count(*) FILTER (outcome = 'unknown') AS unknowns
  FROM (
    SELECT *, unnest(
        range(greatest(given_steps - 1, 0), len(steps) - (finish_reason = 'length')::INTEGER)
      ) AS place
    FROM solutions WHERE method IS NULL OR NOT list_contains(but, method)
  )
  GROUP BY ALL
), judged AS (
  SELECT problem_id, steps[:step_index] AS prefix, steps[step_index + 1] AS next_step,
    CASE WHEN bool_and(verdict = 'correct') THEN 'correct'
         WHEN bool_and(verdict = 'incorrect') THEN 'incorrect' ELSE 'unknown' END AS verdict
  FROM (
    SELECT trace_id, step_index, verdict,
      count(*) FILTER (verdict <> 'correct') OVER (
        PARTITION BY trace_id ORDER BY step_index
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS earlier_errors
    FROM estimates WHERE method = source
  ) JOIN traces USING (trace_id)
    LEFT JOIN (SELECT trace_id, kept FROM labels) USING (trace_id)
  WHERE earlier_errors = 0 AND verdict <> 'unknown' AND (source <> 'the labels' OR kept)
  GROUP BY ALL
)
SELECT problem_id, prefix, next_step, len(prefix)::INTEGER AS step_index,
  coalesce(verdict, 'unknown') AS verdict,
  correct / nullif(correct + incorrect, 0) AS value,
  coalesce(correct + incorrect, 0) AS trials,
  coalesce(unknowns, 0) AS unknowns,
  coalesce(samples, 0) AS samples
FROM tried FULL JOIN judged USING (problem_id, prefix, next_step)
"""
# Every pair occurs once: the order of two steps follows from their verdicts, else from their
# values. An incorrect step is never the chosen one.
SIBLINGS = """
CREATE OR REPLACE MACRO siblings(source := 'the labels', but := ['prover']::VARCHAR[]) AS TABLE
WITH step AS MATERIALIZED (
  SELECT *, regexp_replace(next_step, '^BLANK+|BLANK+$', '', 'g') AS words
  FROM continuations(source := source, but := but)
)
SELECT problem_id, chosen.prefix, chosen.step_index,
  chosen.next_step AS chosen, rejected.next_step AS rejected,
  chosen.verdict AS chosen_verdict, rejected.verdict AS rejected_verdict,
  chosen.value AS chosen_value, rejected.value AS rejected_value,
  chosen.trials AS chosen_trials, rejected.trials AS rejected_trials,
  chosen.value - rejected.value AS gap
FROM step AS chosen JOIN step AS rejected USING (problem_id, prefix)
WHERE chosen.words <> rejected.words AND chosen.verdict <> 'incorrect'
  AND ((chosen.verdict = 'correct' AND rejected.verdict = 'incorrect')
    OR chosen.value > rejected.value)
""".replace("BLANK", WHITE_SPACE)
