-- The traces with the most steps.
-- count = 20: how many
SELECT trace_id, len(steps) AS steps, generated_tokens, outcome, finish_reason
FROM traces ORDER BY steps DESC, generated_tokens DESC, trace_id LIMIT $count::INTEGER
