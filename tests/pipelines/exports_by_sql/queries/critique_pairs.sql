-- The n-th agreeing reply to a request with the n-th one that disagrees.
WITH reply AS (
  SELECT critiques.place, trace_id, problem_id, system, request, text,
    CASE WHEN step IS NULL THEN critiques.first_error = examples.first_error
      WHEN critiques.verdicts <> ['unknown'] AND examples.verdicts[step + 1] <> 'unknown'
      THEN critiques.verdicts = [examples.verdicts[step + 1]] END AS agrees
  FROM critiques JOIN examples USING (trace_id)
  WHERE request IS NOT NULL AND critiques.finish_reason = 'stop'
), numbered AS (
  SELECT *, row_number() OVER (
    PARTITION BY trace_id, system, request, agrees ORDER BY place
  ) AS number
  FROM reply WHERE agrees IS NOT NULL
)
SELECT if(system = '', [], [{'role': 'system', 'content': system}]) || [user_turn(request)]
    AS prompt,
  [assistant_turn(chosen.text)] AS chosen, [assistant_turn(rejected.text)] AS rejected,
  trace_id, problem_id
FROM numbered AS chosen
  JOIN numbered AS rejected USING (trace_id, problem_id, system, request, number)
WHERE chosen.agrees AND NOT rejected.agrees
