-- Replies that name the first error of the label; replies about one step must agree on that step.
SELECT if(system = '', [], [{'role': 'system', 'content': system}])
    || [user_turn(request), assistant_turn(text)] AS messages,
  step, critiques.verdicts, critiques.model AS judge, trace_id, problem_id
FROM critiques JOIN examples USING (trace_id)
WHERE request IS NOT NULL AND critiques.finish_reason = 'stop'
  AND CASE WHEN step IS NULL THEN critiques.first_error = examples.first_error
    ELSE critiques.verdicts = [nullif(examples.verdicts[step + 1], 'unknown')] END
