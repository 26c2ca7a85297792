-- Why labelled traces are not kept, with one trace of each reason.
SELECT split_part(reason, ':', 1) AS dropped_by, count(*) AS traces, min(reason) AS example,
  arg_min(trace_id, reason) AS trace_id
FROM labels WHERE NOT kept
GROUP BY dropped_by ORDER BY traces DESC, dropped_by
