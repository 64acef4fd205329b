-- Sessions by their spans in the range. Tasks are traces.
SELECT
    session_id,
    min(ts) AS start,
    (max(toUnixTimestamp64Nano(ts) + toInt64(latency_ms * 1000000)) - min(toUnixTimestamp64Nano(ts))) / 1000000000 AS seconds,
    uniqExact(cityHash64(trace_id)) AS tasks,
    countIf(kind IN ('llm', 'embedding', 'rerank')) AS model_calls,
    countIf(entry AND status = 'error') AS failed,
    sum(tokens_prompt) + sum(tokens_completion) AS tokens,
    toFloat64(sum(cost_usd)) AS usd,
    any(${label:tenant_id}) AS tenant
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND session_id != ''
GROUP BY session_id;
