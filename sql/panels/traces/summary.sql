SELECT
    (max(toUnixTimestamp64Nano(ts) + latency_ms * 1e6) - min(toUnixTimestamp64Nano(ts))) / 1e6 AS duration,
    count() AS spans,
    countIf(kind IN ('llm', 'embedding', 'rerank')) AS model_calls,
    countIf(kind IN ('tool', 'mcp')) AS tool_calls,
    sum(tokens_prompt + tokens_completion) AS tokens,
    toFloat64(sum(cost_usd)) AS cost,
    countIf(status = 'error') AS errors
FROM agent_events
WHERE trace_id = lower(trimBoth(${trace_id:singlequote}))
HAVING spans > 0;
