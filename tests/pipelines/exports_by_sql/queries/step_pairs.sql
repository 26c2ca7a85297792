-- The pairs of the view `siblings` (docs/sql.md), from the traces with labels and their rollouts.
-- Steps are numbered from 1 here.
WITH solution AS (
  SELECT place, trace_id, problem_id, steps, outcome, 0 AS given_steps,
    len(steps) - if(finish_reason = 'length', 1, 0) AS whole_steps
  FROM examples WHERE found_by IS NULL
  UNION ALL
  SELECT examples.place, trace_id, problem_id, examples.steps[:prefix_steps] || rollouts.steps,
    rollouts.outcome, prefix_steps,
    prefix_steps + len(rollouts.steps) - if(rollouts.finish_reason = 'length', 1, 0)
  FROM rollouts JOIN examples USING (trace_id)
  WHERE rollouts.steps IS NOT NULL AND method <> 'prover' AND len(examples.steps) > 0
), outcomes AS (
  SELECT problem_id, steps[:number - 1] AS prefix, steps[number] AS next,
    count(*) FILTER (outcome = 'correct') AS correct,
    count(*) FILTER (outcome <> 'unknown') AS trials
  FROM (
    SELECT *, unnest(range(greatest(given_steps, 1), whole_steps + 1)) AS number FROM solution
  )
  GROUP BY ALL
), labelled AS (
  SELECT *, unnest(range(1, labelled_steps + 1)) AS number
  FROM (
    -- The correct steps from the start, and the step after them.
    SELECT *, coalesce(
      list_filter(range(1, len(steps) + 1), lambda step: verdicts[step] <> 'correct')[1],
      len(steps)
    ) AS labelled_steps
    FROM examples
  )
), verdicts AS (
  SELECT problem_id, steps[:number - 1] AS prefix, steps[number] AS next,
    if(count(DISTINCT verdicts[number]) = 1, any_value(verdicts[number]), 'unknown') AS verdict
  FROM labelled WHERE verdicts[number] <> 'unknown' GROUP BY ALL
), part AS (
  SELECT place, trace_id, problem_id, steps, unnest(range(1, whole_steps + 1)) AS number
  FROM solution
  UNION ALL
  SELECT place, trace_id, problem_id, steps, number FROM labelled
), owner AS (
  -- The first trace that has the step, itself or in a rollout.
  SELECT problem_id, steps[:number - 1] AS prefix, steps[number] AS next,
    arg_min(trace_id, place) AS trace_id
  FROM part GROUP BY ALL
), continuation AS (
  SELECT problem_id, prefix, next, coalesce(verdict, 'unknown') AS verdict,
    coalesce(trials, 0) AS trials, correct / nullif(trials, 0) AS value, trace_id
  FROM outcomes FULL JOIN verdicts USING (problem_id, prefix, next)
    JOIN owner USING (problem_id, prefix, next)
)
SELECT [user_turn(question)] AS prompt,
  [assistant_turn(array_to_string(better.prefix, '') || better.next)] AS chosen,
  [assistant_turn(array_to_string(worse.prefix, '') || worse.next)] AS rejected,
  array_to_string(better.prefix, '') AS prefix, len(better.prefix) AS at,
  better.value - worse.value AS gap, better.value AS chosen_value,
  worse.value AS rejected_value, better.trials AS chosen_trials,
  worse.trials AS rejected_trials,
  if(better.trace_id = worse.trace_id, [better.trace_id], [better.trace_id, worse.trace_id])
    AS trace_ids,
  problem_id
FROM continuation AS better JOIN continuation AS worse USING (problem_id, prefix)
  JOIN problems USING (problem_id)
WHERE stripped(better.next) <> stripped(worse.next) AND better.verdict <> 'incorrect'
  AND (
    (better.verdict = 'correct' AND worse.verdict = 'incorrect') OR better.value > worse.value
  )
