-- The form of phase 2: each step is the only completion, up to the first error.
WITH rated AS (
  SELECT *, list_transform(
    texts[:end_at_error],
    lambda text, step: {
      'completions': [{
        'text': text,
        'rating': CASE verdicts[step] WHEN 'correct' THEN 1 WHEN 'incorrect' THEN -1 END,
        'flagged': NULL
      }],
      'human_completion': NULL,
      'chosen_completion': if(verdicts[step] = 'incorrect', NULL, 0)
    }
  ) AS rated_steps
  FROM examples
  WHERE list_contains(verdicts, 'correct') OR list_contains(verdicts, 'incorrect')
)
SELECT NULL::VARCHAR AS labeler, NULL::VARCHAR AS timestamp, NULL::BIGINT AS generation,
  NULL::BOOLEAN AS is_quality_control_question, NULL::BOOLEAN AS is_initial_screening_question,
  {
    'problem': question,
    'ground_truth_solution': NULL,
    'ground_truth_answer': answer,
    'pre_generated_steps': texts,
    'pre_generated_answer': final_answer,
    'pre_generated_verifier_score': NULL
  } AS question,
  {
    'steps': rated_steps,
    'total_time': NULL,
    'finish_reason': CASE
      WHEN list_contains(verdicts, 'incorrect') THEN 'found_error'
      WHEN NOT list_contains(verdicts, 'unknown') THEN 'solution'
    END
  } AS label,
  trace_id, problem_id
FROM rated
