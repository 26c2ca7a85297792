SELECT trace_id AS id, model AS generator, question AS problem, texts AS steps,
  outcome = 'correct' AS final_answer_correct, first_error AS label, trace_id, problem_id
FROM examples WHERE first_error IS NOT NULL AND outcome <> 'unknown'
