SELECT [user_turn(question)] AS prompt, [assistant_turn(solution)] AS completion,
  is_right AS label, trace_id, problem_id
FROM graded WHERE is_right OR is_wrong
