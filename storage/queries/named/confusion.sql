-- Steps by the verdicts of two methods: a row for each verdict of the first one.
-- first = judge: the method of the rows
-- second = oracle: the method of the columns
WITH pairs AS (
  SELECT unnest(list_zip(a.steps, b.steps)) AS step
  FROM annotations AS a JOIN annotations AS b USING (trace_id)
  WHERE a.method = $first AND b.method = $second
)
SELECT $first AS row_method, step[1].verdict AS row_verdict, $second AS column_method,
  count(*) FILTER (step[2].verdict = 'correct') AS correct,
  count(*) FILTER (step[2].verdict = 'incorrect') AS incorrect,
  count(*) FILTER (step[2].verdict = 'unknown') AS unknown
FROM pairs GROUP BY row_verdict ORDER BY row_verdict
