SELECT 'fapo_critic' AS data_source,
  [user_turn(request('first_error_with_answer', question, answer, texts))] AS prompt,
  'math_critic' AS ability, {'ground_truth': first_error, 'style': 'rule'} AS reward_model,
  {'total_steps': len(texts), 'trace_id': trace_id} AS extra_info, trace_id, problem_id
FROM examples WHERE first_error IS NOT NULL AND answer <> ''
  AND NOT has_paragraph_tag(question, answer, texts)
