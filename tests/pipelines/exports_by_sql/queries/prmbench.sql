-- The fields of an original are null, because no trace was made from another one.
SELECT NULL::VARCHAR AS idx, NULL::VARCHAR AS question, NULL::VARCHAR AS original_question,
  NULL::VARCHAR AS classification, NULL::VARCHAR AS reason, NULL::VARCHAR AS original_response,
  NULL::VARCHAR[] AS original_process, NULL::BIGINT[] AS modified_steps,
  question AS modified_question, texts AS modified_process,
  list_filter(range(1, len(targets) + 1), lambda step: NOT targets[step]) AS error_steps,
  answer AS ground_truth, trace_id, problem_id
FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
WHERE NOT list_contains(list_transform(targets, lambda target: target IS NULL), true)
