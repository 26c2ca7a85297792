-- A masked step begins the next turn of the user.
WITH step AS (
  SELECT place, trace_id, problem_id, question, step_number, texts[step_number] AS text,
    targets[step_number] AS target,
    -- The number of decided steps before this one.
    len(list_filter(targets[:step_number - 1], lambda target: target IS NOT NULL)) AS turn
  FROM (
    SELECT *, unnest(range(1, len(texts) + 1)) AS step_number
    FROM training_steps(coalesce(getvariable('after_error'), 'drop'))
  )
), turn AS (
  SELECT trace_id, problem_id, turn,
    if(turn = 0, any_value(question) || ' ', '')
      || string_agg(text, chr(10) ORDER BY step_number) AS content,
    bool_or(target) AS is_correct
  FROM step GROUP BY trace_id, problem_id, turn
)
SELECT flatten(list([
    {'role': 'user', 'content': content, 'loss': false},
    {'role': 'assistant', 'content': if(is_correct, '+', '-'), 'loss': true}
  ] ORDER BY turn)) AS messages, trace_id, problem_id
FROM turn WHERE is_correct IS NOT NULL GROUP BY trace_id, problem_id
