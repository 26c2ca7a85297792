-- Where first errors are: traces by method and step; 'the labels' are the kept labels.
WITH first_errors AS (
  SELECT method, first_error FROM annotations
  UNION ALL
  SELECT 'the labels', first_error FROM labels WHERE kept
)
SELECT method, first_error, count(*) AS traces,
  bar(count(*), 0, max(count(*)) OVER (), 30) AS chart
FROM first_errors WHERE first_error IS NOT NULL
GROUP BY method, first_error ORDER BY method, first_error
