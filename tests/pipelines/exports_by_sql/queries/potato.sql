-- Labels of methods are suggestions; an undecided step has no mark.
SELECT trace_id AS id, question AS text,
  list_transform(texts, lambda text, step: {'index': step - 1, 'text': text}) AS cot_steps,
  trace_id AS instance_id, array_to_string(sources, ', ') AS annotator, 'per_step' AS mode,
  list_transform(verdicts, lambda verdict, step: {
    'index': step - 1,
    'reward': CASE verdict WHEN 'correct' THEN 1 WHEN 'incorrect' THEN -1 END,
    'source': if(verdict <> 'unknown', 'ai', NULL),
    'verified': if(verdict <> 'unknown', false, NULL)
  }) AS steps, trace_id, problem_id
FROM examples WHERE len(texts) > 0
