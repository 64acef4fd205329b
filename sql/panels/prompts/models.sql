-- Models by their calls, and their share of the cost.
SELECT
    ${label:model} AS model,
    sum(r.calls) AS calls,
    sum(errors) / calls AS error_rate,
    ${percentiles:latency}[2] AS p95_ms,
    if(isFinite(${percentiles:ttft}[2] AS ttft_p95), ttft_p95, NULL) AS ttft_p95_ms,
    sum(tokens_prompt) / calls AS tokens_in,
    sum(tokens_completion) / calls AS tokens_out,
    toFloat64(sum(cost_usd)) / calls AS usd_per_call,
    toFloat64(sum(cost_usd)) AS usd
FROM ${rollup} AS r
WHERE kind IN ('llm', 'embedding', 'rerank')
GROUP BY model
ORDER BY usd DESC, calls DESC, model
LIMIT 100;
