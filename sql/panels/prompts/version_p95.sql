SELECT
    ${bucket} AS time, concat(prompt_name, ' ', ${label:prompt_version}) AS name,
    ${percentiles:latency}[2] AS p95_ms
FROM ${rollup_over_time}
WHERE prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank')
GROUP BY time, name
ORDER BY time, name;
