-- The prefixes of all traces of a problem that have a value: each pair of a prefix and a value once.
-- The traces that a method discovered are another row.
WITH state AS (
  SELECT place, problem_id, trace_id, question, answer, coalesce(found_by, '') AS found_by, number,
    question || chr(10) || chr(10) || array_to_string(texts[:number], chr(10) || chr(10))
      AS solution_prefix,
    step_values[number] AS value
  FROM (
    SELECT *, unnest(range(1, len(texts) + 1)) AS number FROM examples
    WHERE list_min(step_values) IS NOT NULL
  )
), prefix AS (
  SELECT problem_id, found_by, question, answer,
    {'solution_prefix': solution_prefix, 'mc_value': value} AS prefix,
    min((place, number)) AS rank
  FROM state GROUP BY problem_id, found_by, question, answer, solution_prefix, value
), prefix_list AS (
  SELECT problem_id, found_by, question, answer, list(prefix ORDER BY rank) AS reasoning_steps
  FROM prefix GROUP BY ALL
), trace_list AS (
  SELECT problem_id, found_by, list(trace_id ORDER BY place) AS trace_ids
  FROM state WHERE number = 1 GROUP BY ALL
)
SELECT question, answer AS final_answer, reasoning_steps, NULL::BIGINT AS question_id, trace_ids,
  problem_id
FROM prefix_list JOIN trace_list USING (problem_id, found_by)
