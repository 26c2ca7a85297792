SELECT [user_turn(question)] AS prompt, [assistant_turn(solution)] AS response,
  (outcome = 'correct')::BIGINT AS label, trace_id, problem_id
FROM graded WHERE outcome <> 'unknown'
