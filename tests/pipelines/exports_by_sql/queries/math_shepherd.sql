-- The published form: the question, a space, and lines "Step K: text MARK"; a step that begins with
-- its number keeps it. Texts with the mark, or with another "Step 1:", are left out.
WITH numbered AS (
  SELECT *, list_transform(
    texts,
    lambda text, step: if(
      starts_with(text, 'Step ' || step || ':'), text, 'Step ' || step || ': ' || text
    )
  ) AS lines
  FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
  WHERE NOT list_contains(list_transform(targets, lambda target: target IS NULL), true)
)
SELECT
  question || ' '
    || array_to_string(list_transform(lines, lambda line: line || ' ки'), chr(10)) AS input,
  question || ' ' || array_to_string(
    list_transform(lines, lambda line, step: line || if(targets[step], ' +', ' -')), chr(10)
  ) AS label,
  domain AS task, trace_id, problem_id
FROM numbered
WHERE NOT contains(question || array_to_string(texts, chr(10)), 'ки')
  AND NOT contains(question, 'Step 1:')
  AND NOT contains(substr(lines[1], 2), 'Step 1:')
