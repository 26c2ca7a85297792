-- Every step with a value, with the numbers of the Monte Carlo rollouts after it.
WITH counted AS (
  SELECT trace_id, steps FROM annotations WHERE method = 'monte_carlo' AND error IS NULL
), step AS (
  SELECT *, unnest(range(1, len(steps) + 1)) AS number FROM examples
)
SELECT 'Problem: ' || question || chr(10) || 'Solution:' || chr(10)
    || array_to_string(step.steps[:number], '') AS prompt_answer,
  step_values[number] AS label, number - 1 AS step,
  counted.steps[number].successes AS successes, counted.steps[number].trials AS trials,
  domain, trace_id, problem_id
FROM step LEFT JOIN counted USING (trace_id)
WHERE step_values[number] IS NOT NULL
