-- The latest of them whole, whatever was asked for.
SELECT
    min(e.ts) AS start,
    e.trace_id AS trace,
    argMin(e.name, (e.parent_span_id != '', e.ts)) AS first_span,
    argMin(if(e.tenant_id = '', '(none)', e.tenant_id), (e.parent_span_id != '', e.ts)) AS tenant,
    argMin(e.service, (e.parent_span_id != '', e.ts)) AS entered,
    max(e.session_id) AS session,
    (max(toUnixTimestamp64Nano(e.ts) + e.latency_ms * 1e6) - min(toUnixTimestamp64Nano(e.ts))) / 1e6 AS duration,
    count() AS spans,
    countIf(e.kind IN ('llm', 'embedding', 'rerank')) AS model_calls,
    sum(e.tokens_prompt + e.tokens_completion) AS tokens,
    toFloat64(sum(e.cost_usd)) AS cost,
    countIf(e.status = 'error') AS errors,
    argMaxIf(e.error_type, e.ts, e.status = 'error') AS error
FROM agent_events AS e
WHERE
    (
        (e.ts >= $__fromTime - 86400 AND e.ts <= $__toTime + 86400)
        OR ${trace_id:singlequote} != '' OR ${session_id:singlequote} != ''
    )
    AND e.trace_id IN
    (
        SELECT trace_id FROM ${table:matching}
        GROUP BY trace_id
        ORDER BY max(ts) DESC, trace_id
        LIMIT 100
    )
GROUP BY trace
ORDER BY start DESC, trace;
