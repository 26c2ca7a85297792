SELECT question AS prompt, texts AS completions, targets AS labels, trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
WHERE NOT list_contains(list_transform(targets, lambda target: target IS NULL), true)
