SELECT question || chr(10)
    || array_to_string(list_transform(texts, lambda text: text || ' ки'), chr(10)) AS text,
  target_values AS value, trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'keep'))
WHERE NOT list_contains(list_transform(target_values, lambda value: value IS NULL), true)
  AND NOT contains(question || array_to_string(texts, chr(10)), 'ки')
