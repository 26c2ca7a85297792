-- Steps by the verdicts of two methods: a row for each verdict of the first one.
-- first = judge: the method of the rows
-- second = oracle: the method of the columns
WITH verdicts_of_steps AS (
  SELECT trace_id, method, unnest(range(len(steps))) AS step_index,
    unnest([step.verdict FOR step IN steps]) AS verdict
  FROM annotations WHERE method IN ($first, $second)
)
SELECT a.verdict AS verdict, count(*) FILTER (b.verdict = 'correct') AS correct,
  count(*) FILTER (b.verdict = 'incorrect') AS incorrect,
  count(*) FILTER (b.verdict = 'unknown') AS unknown
FROM verdicts_of_steps AS a JOIN verdicts_of_steps AS b USING (trace_id, step_index)
WHERE a.method = $first AND b.method = $second
GROUP BY a.verdict ORDER BY a.verdict
