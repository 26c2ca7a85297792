-- What every method generated, in total and for each kept label. The traces are the first row.
WITH costs AS (
  SELECT '(traces)' AS method, count(*) AS annotations, NULL AS decided, NULL AS rollouts,
    sum(generated_tokens) AS generated_tokens
  FROM traces WHERE found_by IS NULL
  UNION ALL
  SELECT method, count(*), count(first_error), sum(rollouts), sum(generated_tokens)
  FROM annotations GROUP BY method
)
SELECT method, annotations, decided, rollouts, generated_tokens,
  round(generated_tokens / nullif((SELECT count(*) FROM labels WHERE kept), 0), 1)
    AS tokens_per_kept_label
FROM costs ORDER BY method
