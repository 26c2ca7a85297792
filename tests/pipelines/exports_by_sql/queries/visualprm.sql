-- The numbers of correct and of all decided Monte Carlo rollouts after each step.
WITH counted AS (
  SELECT trace_id, steps FROM annotations WHERE method = 'monte_carlo' AND error IS NULL
)
SELECT NULL::VARCHAR AS image, question, solution AS response,
  list_transform(texts, lambda text, step: {
    'step': text,
    'score': counted.steps[step].successes / counted.steps[step].trials,
    'num_mc_correct': counted.steps[step].successes,
    'num_mc_total': counted.steps[step].trials
  }) AS steps_with_score, trace_id, problem_id
FROM examples JOIN counted USING (trace_id)
WHERE len(texts) > 0
  AND len(list_filter(counted.steps, lambda step: coalesce(step.trials, 0) = 0)) = 0
