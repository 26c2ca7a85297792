SELECT question AS prompt, texts AS completions, target_values AS "values", trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'keep'))
WHERE len(list_filter(target_values, lambda value: value IS NOT NULL)) > 0
