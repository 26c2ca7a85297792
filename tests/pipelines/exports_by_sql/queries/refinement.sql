-- A wrong draft, and the right solution of its problem that shares the most steps with it.
WITH draft AS (SELECT * FROM graded WHERE is_wrong), candidate AS (
  SELECT draft.trace_id AS draft_id, draft.question, draft.solution AS draft_text, other.trace_id,
    other.solution, problem_id,
    row_number() OVER (
      PARTITION BY draft.trace_id ORDER BY len(list_filter(
        range(1, len(draft.steps) + 1),
        lambda number: draft.steps[:number] = other.steps[:number]
      )) DESC, other.place
    ) AS rank
  FROM draft JOIN graded AS other USING (problem_id) WHERE other.is_right
)
SELECT [
    user_turn(
      question || chr(10) || chr(10)
      || 'The draft below has a wrong answer. Write a correct solution.' || chr(10) || chr(10)
      || 'Draft:' || chr(10) || draft_text
    ),
    assistant_turn(solution)
  ] AS messages, [draft_id, trace_id] AS trace_ids,
  problem_id
FROM candidate WHERE rank = 1
