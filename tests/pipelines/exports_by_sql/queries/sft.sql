SELECT [user_turn(question), assistant_turn(solution)] AS messages, score,
  [trace_id] AS trace_ids, problem_id
FROM graded WHERE is_right
