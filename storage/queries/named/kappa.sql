-- Agreement of every two methods: Cohen's kappa on the steps that both decide, and first errors.
WITH pairs AS (
  -- The lists are zipped within a row: a join of steps would take many times as long.
  SELECT a.method AS first, b.method AS second, unnest(list_zip(a.steps, b.steps)) AS step
  FROM annotations AS a JOIN annotations AS b USING (trace_id)
  WHERE a.method < b.method
),
of_steps AS (
  SELECT first, second, count(*) AS steps,
    avg((step[1].verdict = step[2].verdict)::INTEGER) AS agreement,
    avg((step[1].verdict = 'correct')::INTEGER) AS first_correct,
    avg((step[2].verdict = 'correct')::INTEGER) AS second_correct,
    first_correct * second_correct + (1 - first_correct) * (1 - second_correct) AS by_chance
  FROM pairs WHERE step[1].verdict <> 'unknown' AND step[2].verdict <> 'unknown'
  GROUP BY first, second
),
of_traces AS (
  SELECT a.method AS first, b.method AS second, count(*) AS traces,
    avg((a.first_error = b.first_error)::INTEGER) AS same_first_error
  FROM annotations AS a JOIN annotations AS b USING (trace_id)
  WHERE a.method < b.method AND a.first_error IS NOT NULL AND b.first_error IS NOT NULL
  GROUP BY first, second
)
-- Kappa is undefined where chance alone gives full agreement.
SELECT first, second, steps, round(agreement, 4) AS agreement,
  round((agreement - by_chance) / nullif(1 - by_chance, 0), 4) AS kappa,
  traces, round(same_first_error, 4) AS same_first_error
FROM of_steps FULL JOIN of_traces USING (first, second)
ORDER BY first, second
