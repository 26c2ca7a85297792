SELECT question,
  array_to_string(list_transform(texts, lambda text: text || ' ' || repeat(chr(10), 5)), '')
    AS process,
  list_transform(targets, lambda target: if(target, '+', '-')) AS label, trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
WHERE NOT list_contains(list_transform(targets, lambda target: target IS NULL), true)
  AND NOT contains(question, repeat(chr(10), 5))
  AND NOT list_contains(
    list_transform(texts, lambda text: contains(text, repeat(chr(10), 5))), true
  )
