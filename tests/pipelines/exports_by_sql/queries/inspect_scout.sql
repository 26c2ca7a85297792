-- JSON is compared as nested values; see `parsed/inspect_scout.sql`.
WITH annotated AS (
  SELECT trace_id, list({'method': method, 'steps': steps} ORDER BY method) AS methods,
    map(list(method ORDER BY method), list(first_error ORDER BY method)) AS first_errors
  FROM annotations GROUP BY trace_id
), message AS (
  SELECT trace_id, {
    'id': trace_id || '-' || (number - 1),
    'role': 'assistant',
    'content': texts[number],
    'model': model,
    'metadata': {
      'step': number - 1,
      'label': verdicts[number],
      'value': step_values[number],
      'verdicts': map_from_entries(list_transform(methods, lambda annotation: {
        'k': annotation.method,
        'v': coalesce(annotation.steps[number].verdict, 'unknown')
          || coalesce(': ' || nullif(annotation.steps[number].rationale, ''), '')
      }))
    }
  } AS message, number
  FROM (SELECT *, unnest(range(1, len(texts) + 1)) AS number FROM examples)
    JOIN annotated USING (trace_id)
), conversation AS (
  SELECT trace_id, list(message ORDER BY number) AS step_messages FROM message GROUP BY trace_id
)
SELECT trace_id AS transcript_id, 'stepmark' AS source_type, source AS source_id,
  domain AS task_set, problem_id AS task_id, model, sampling AS model_options,
  named_first_error::VARCHAR AS score, reason AS score_explanation,
  CASE outcome WHEN 'correct' THEN true WHEN 'incorrect' THEN false END AS success,
  len(texts) + 1 AS message_count, prompt_tokens + generated_tokens AS total_tokens,
  false AS trust_content,
  [{
    'id': trace_id || '-question', 'role': 'user', 'content': question, 'model': NULL,
    'metadata': NULL
  }] || step_messages AS messages,
  answer AS reference_answer, final_answer, confidence, first_errors, trace_id, problem_id
FROM examples JOIN annotated USING (trace_id) JOIN conversation USING (trace_id)
