-- How often the steps with a given value are correct, in tenths of the value.
-- method = monte_carlo: the method of the values, or 'the labels'
-- gold = oracle: the method of the true verdicts
WITH step_lists AS (
  SELECT trace_id, [step.value FOR step IN steps] AS step_values
  FROM annotations WHERE method = $method
  UNION ALL
  SELECT trace_id, [step.value FOR step IN steps] FROM labels WHERE $method = 'the labels'
),
pairs AS (
  SELECT unnest(step_values) AS value, unnest([step.verdict FOR step IN gold.steps]) AS verdict
  FROM step_lists JOIN annotations AS gold USING (trace_id)
  WHERE gold.method = $gold
)
SELECT least(floor(value * 10), 9) / 10 AS value_from, count(*) AS steps,
  round(avg(value), 4) AS mean_value,
  round(avg((verdict = 'correct')::INTEGER), 4) AS correct
FROM pairs WHERE value IS NOT NULL AND verdict <> 'unknown'
GROUP BY value_from ORDER BY value_from
