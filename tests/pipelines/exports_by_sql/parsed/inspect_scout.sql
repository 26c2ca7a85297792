SELECT * REPLACE (
  from_json(model_options, '{
    "n": "INTEGER", "temperature": "DOUBLE", "top_p": "DOUBLE", "max_tokens": "BIGINT",
    "stop": ["VARCHAR"], "seed": "BIGINT"
  }') AS model_options,
  from_json(messages, '[{
    "id": "VARCHAR", "role": "VARCHAR", "content": "VARCHAR", "model": "VARCHAR",
    "metadata": {
      "step": "BIGINT", "label": "VARCHAR", "value": "DOUBLE", "verdicts": "MAP(VARCHAR, VARCHAR)"
    }
  }]') AS messages,
  from_json(first_errors, '"MAP(VARCHAR, INTEGER)"') AS first_errors
) FROM exported_files
