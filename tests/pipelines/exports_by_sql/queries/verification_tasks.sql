SELECT [user_turn(request('first_error', question, answer, texts))] AS prompt, first_error,
  len(texts) AS total_steps, trace_id, problem_id
FROM examples WHERE first_error IS NOT NULL AND NOT has_paragraph_tag(question, answer, texts)
