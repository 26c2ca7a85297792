-- How often the steps with a given value are correct, in tenths of the value.
-- method = monte_carlo: the method of the values, or 'the labels'
-- gold = oracle: the method of the true verdicts
SELECT least(floor(e.value * 10), 9) / 10 AS value_from, count(*) AS steps,
  round(avg(e.value), 4) AS mean_value,
  round(avg((gold.verdict = 'correct')::INTEGER), 4) AS correct
FROM estimates AS e JOIN estimates AS gold USING (trace_id, step_index)
WHERE e.method = $method AND gold.method = $gold AND e.value IS NOT NULL
  AND gold.verdict <> 'unknown'
GROUP BY value_from ORDER BY value_from
