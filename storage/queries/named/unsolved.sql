-- Problems that no trace solves, with the most frequent final answer.
SELECT problem_id, count(*) AS traces, count(*) FILTER (outcome = 'unknown') AS unknown,
  any_value(answer) AS reference, mode(final_answer) AS most_frequent_answer,
  any_value(question) AS question
FROM traces JOIN problems USING (problem_id)
GROUP BY problem_id HAVING NOT bool_or(outcome = 'correct')
ORDER BY traces DESC, problem_id
