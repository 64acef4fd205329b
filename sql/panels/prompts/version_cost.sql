SELECT
    ${bucket} AS time, concat(prompt_name, ' ', ${label:prompt_version}) AS name,
    toFloat64(sum(cost_usd)) / sum(calls) AS usd_per_call
FROM ${rollup_over_time}
WHERE prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank')
GROUP BY time, name
ORDER BY time, name;
