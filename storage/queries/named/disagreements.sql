-- Traces on which two methods name different first errors.
-- first = monte_carlo: the first method
-- second = judge: the second method
SELECT trace_id, outcome, a.first_error AS first, b.first_error AS second,
  labels.first_error AS label, reason
FROM annotations AS a JOIN annotations AS b USING (trace_id) JOIN traces USING (trace_id)
LEFT JOIN labels USING (trace_id)
WHERE a.method = $first AND b.method = $second AND a.first_error <> b.first_error
ORDER BY trace_id
