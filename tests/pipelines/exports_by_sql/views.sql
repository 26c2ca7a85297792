-- The tables of a dataset as its Parquet files have them, and the labels that an export uses.
--
-- Variables: `labels_by`, a method whose annotations are used instead of the kept labels, or ''.

CREATE MACRO is_blank(text) AS NOT regexp_matches(text, '[^\s\x0b\x1c-\x1f\x85\p{Z}]');

CREATE MACRO stripped(text) AS
  regexp_replace(text, '^[\s\x0b\x1c-\x1f\x85\p{Z}]+|[\s\x0b\x1c-\x1f\x85\p{Z}]+$', '', 'g');

CREATE MACRO user_turn(content) AS {'role': 'user', 'content': content};

CREATE MACRO assistant_turn(content) AS {'role': 'assistant', 'content': content};

-- The labels: kept ones, or the annotations of a method.
CREATE VIEW selected AS
SELECT trace_id, first_error, confidence, reason, sources, kept_steps.verdicts,
  kept_steps.step_values
FROM (
  SELECT *, {
    'verdicts': list_transform(steps, lambda step: step.label),
    'step_values': list_transform(steps, lambda step: step.value)
  } AS kept_steps
  FROM labels
)
WHERE kept AND getvariable('labels_by') = ''
UNION ALL
SELECT trace_id, first_error, confidence, 'annotation of ' || method, [method],
  list_transform(steps, lambda step: step.verdict),
  list_transform(steps, lambda step: step.value)
FROM annotations WHERE method = getvariable('labels_by') AND error IS NULL;

-- The sampled traces, and after them those that methods have discovered.
CREATE VIEW all_traces AS
SELECT *, NULL AS found_by FROM traces
UNION ALL BY NAME
SELECT * EXCLUDE place, place + 1000000000 AS place FROM discovered;

-- One row per labelled trace. `place` is its position in the dataset, `end_at_error` the number of
-- steps up to the first one that is labelled incorrect, and `solution` the text of the model.
CREATE VIEW examples AS
SELECT all_traces.place, trace_id, problem_id, question, answer, domain, source, outcome, model,
  finish_reason, final_answer, sampling, prompt_tokens, generated_tokens, found_by, steps,
  array_to_string(steps, '') AS solution,
  list_transform(steps, lambda step: stripped(step)) AS texts,
  first_error AS named_first_error, confidence, reason, sources, verdicts, step_values,
  -- The first error that both the label and its steps name; NULL if one of them is undecided.
  CASE
    WHEN len(verdicts) = 0 THEN NULL
    WHEN len(list_filter(
      verdicts[:if(first_error = -1, len(verdicts), first_error)],
      lambda verdict: verdict <> 'correct'
    )) > 0 THEN NULL
    WHEN first_error = -1 OR verdicts[first_error + 1] = 'incorrect' THEN first_error
  END AS first_error,
  coalesce(nullif(list_position(verdicts, 'incorrect'), 0), len(verdicts)) AS end_at_error
FROM selected JOIN all_traces USING (trace_id) JOIN problems USING (problem_id);

-- The steps to train on. A target is true, false, or null for a step that trains nothing. A trace
-- with a blank step trains nothing.
CREATE MACRO training_steps(after_error) AS TABLE
SELECT place, trace_id, problem_id, question, domain, answer, texts[:used] AS texts,
  list_transform(
    verdicts[:used],
    lambda verdict, step: CASE
      WHEN step > end_at_error AND after_error = 'mask' THEN NULL
      WHEN verdict = 'correct' THEN true
      WHEN verdict = 'incorrect' THEN false
    END
  ) AS targets,
  list_transform(
    step_values[:used],
    lambda value, step: CASE
      WHEN step > end_at_error AND after_error = 'mask' THEN NULL ELSE value
    END
  ) AS target_values
FROM (
  SELECT *, CASE after_error WHEN 'drop' THEN end_at_error ELSE len(verdicts) END AS used
  FROM examples
)
WHERE used > 0 AND len(list_filter(texts[:used], lambda text: is_blank(text))) = 0;

-- Traces by their answer. A right one has a correct answer and no step that is labelled incorrect;
-- a wrong one has an incorrect answer. The score of a solution is the least value of its steps.
CREATE VIEW graded AS
SELECT *,
  outcome = 'correct' AND NOT list_contains(verdicts, 'incorrect') AS is_right,
  outcome = 'incorrect' AS is_wrong,
  list_min(step_values) AS score
FROM examples WHERE NOT is_blank(solution);

-- A text with a tag of a paragraph could forge others.
CREATE MACRO has_paragraph_tag(question, answer, texts) AS regexp_matches(
  array_to_string([question, coalesce(answer, ''), array_to_string(texts, chr(10))], chr(10)),
  '</?paragraph_'
);

-- The request for the first error of a solution, by the name of its prompt.
CREATE MACRO request(prompt, question, answer, texts) AS replace(replace(replace(
  (SELECT template FROM prompts WHERE name = prompt),
  '{question}', question), '{answer}', coalesce(answer, '')), '{paragraphs}', array_to_string(
    list_transform(
      texts,
      lambda text, step: printf(
        '<paragraph_%d>' || chr(10) || '%s' || chr(10) || '</paragraph_%d>', step - 1, text, step - 1
      )
    ),
    chr(10)
  ));
