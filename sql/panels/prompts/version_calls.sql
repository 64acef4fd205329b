SELECT ${bucket} AS time, concat(prompt_name, ' ', ${label:prompt_version}) AS name, sum(r.calls) AS calls
FROM ${rollup_over_time} AS r
WHERE prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank')
GROUP BY time, name
ORDER BY time, name;
