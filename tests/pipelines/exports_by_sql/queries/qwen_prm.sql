SELECT [
    {'role': 'user', 'content': question},
    {'role': 'assistant', 'content': array_to_string(
      list_transform(texts, lambda text: text || '<extra_0>'), '')}
  ] AS messages, list_transform(targets, lambda target: target::BIGINT) AS labels,
  trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
WHERE len(list_filter(targets, lambda target: target IS NOT NULL)) > 0
  AND NOT contains(question, '<extra_0>')
  AND NOT contains(array_to_string(texts, '\n'), '<extra_0>')
