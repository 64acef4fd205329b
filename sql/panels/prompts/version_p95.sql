SELECT
    ${bucket} AS time, concat(prompt_name, ' ', ${label:prompt_version}) AS name,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(latency)[2] AS p95_ms
FROM ${rollup}
WHERE prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank')
GROUP BY time, name
ORDER BY time, name;
