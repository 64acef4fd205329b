-- In the order in which they began, with their time since the trace began.
SELECT
    (toUnixTimestamp64Nano(ts) - min(toUnixTimestamp64Nano(ts)) OVER ()) / 1e6 AS after,
    e.name AS span,
    e.kind AS kind,
    e.service AS service,
    e.agent AS agent,
    e.model AS model,
    e.tool_name AS tool,
    e.latency_ms AS duration,
    e.ttft_ms AS first_token,
    e.tokens_prompt AS input,
    e.tokens_cache_read AS cached,
    e.tokens_completion AS output,
    toFloat64(e.cost_usd) AS cost,
    e.status AS status,
    e.error_type AS error,
    e.error_message AS message
FROM agent_events AS e
WHERE e.trace_id = lower(trimBoth(${trace_id:singlequote}))
ORDER BY after, duration DESC, span_id
LIMIT 1000;
