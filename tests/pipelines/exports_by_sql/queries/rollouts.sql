WITH rollout AS (
  SELECT examples.place, rollouts.place AS number, trace_id, problem_id, question, prefix_steps,
    array_to_string(steps[:prefix_steps], '') AS roll_in, text,
    CASE WHEN rollouts.outcome = 'correct' THEN 1
      WHEN rollouts.outcome = 'incorrect' THEN 0
      WHEN rollouts.finish_reason = 'length' THEN 2 END AS label
  FROM (SELECT * EXCLUDE steps FROM rollouts) AS rollouts JOIN examples USING (trace_id)
  WHERE method <> 'prover'
)
SELECT question AS problem, list(roll_in ORDER BY place, number) AS roll_ins,
  list(text ORDER BY place, number) AS roll_outs,
  list(label ORDER BY place, number) AS labels,
  list(prefix_steps ORDER BY place, number) AS prefix_steps,
  -- Each trace at its first rollout.
  list(trace_id ORDER BY place, number) FILTER (is_first) AS trace_ids, problem_id
FROM (
  SELECT *, row_number() OVER (PARTITION BY trace_id ORDER BY number) = 1 AS is_first
  FROM rollout WHERE label IS NOT NULL
)
GROUP BY problem_id, question
