-- The rollouts of a trace.
-- trace: its id, or the beginning of it
-- prefix = : the number of steps before the rollouts; all of them by default
SELECT method, trace_id, prefix_steps, outcome, final_answer, generated_tokens, text
FROM rollouts
WHERE starts_with(trace_id, $trace) AND ($prefix = '' OR prefix_steps = nullif($prefix, '')::INTEGER)
ORDER BY trace_id, prefix_steps, method, rollout_id
