-- Agreement of every two methods: Cohen's kappa on the steps that both decide, and first errors.
WITH decided AS (
  SELECT trace_id, method, unnest(range(len(steps))) AS step_index,
    unnest([step.verdict FOR step IN steps]) AS verdict
  FROM annotations
),
of_steps AS (
  SELECT a.method AS first, b.method AS second, count(*) AS steps,
    avg((a.verdict = b.verdict)::INTEGER) AS agreement,
    avg((a.verdict = 'correct')::INTEGER) AS first_correct,
    avg((b.verdict = 'correct')::INTEGER) AS second_correct
  FROM decided AS a JOIN decided AS b USING (trace_id, step_index)
  WHERE a.method < b.method AND a.verdict <> 'unknown' AND b.verdict <> 'unknown'
  GROUP BY ALL
),
of_traces AS (
  SELECT a.method AS first, b.method AS second, count(*) AS traces,
    avg((a.first_error = b.first_error)::INTEGER) AS same_first_error
  FROM annotations AS a JOIN annotations AS b USING (trace_id)
  WHERE a.method < b.method AND a.first_error IS NOT NULL AND b.first_error IS NOT NULL
  GROUP BY ALL
),
chances AS (
  SELECT *,
    first_correct * second_correct + (1 - first_correct) * (1 - second_correct) AS by_chance
  FROM of_steps
)
-- Kappa is undefined where chance alone gives full agreement.
SELECT first, second, steps, round(agreement, 4) AS agreement,
  round((agreement - by_chance) / nullif(1 - by_chance, 0), 4) AS kappa,
  traces, round(same_first_error, 4) AS same_first_error
FROM chances FULL JOIN of_traces USING (first, second)
ORDER BY first, second
