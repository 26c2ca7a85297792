-- The right solution with the highest score against the wrong one with the lowest. Solutions
-- without values come after all others.
WITH best AS (
  SELECT * FROM graded WHERE is_right
  QUALIFY row_number() OVER (PARTITION BY problem_id ORDER BY score DESC NULLS LAST, place) = 1
), worst AS (
  SELECT * FROM graded WHERE is_wrong
  QUALIFY row_number() OVER (PARTITION BY problem_id ORDER BY score NULLS LAST, place) = 1
)
SELECT [user_turn(best.question)] AS prompt, [assistant_turn(best.solution)] AS chosen,
  [assistant_turn(worst.solution)] AS rejected, best.score AS chosen_score,
  worst.score AS rejected_score, [best.trace_id, worst.trace_id] AS trace_ids, problem_id
FROM best JOIN worst USING (problem_id)
