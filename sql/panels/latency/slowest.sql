-- Traces that began in the time range.
SELECT
    ts AS start,
    trace_id AS trace,
    name,
    ${label:tenant_id} AS tenant,
    service,
    route,
    session_id AS session,
    latency_ms AS duration,
    if(status = 'error', 'failed', 'ok') AS result,
    error_type AS error
FROM agent_events
WHERE $__timeFilter(ts) AND parent_span_id = '' AND ${traces}
ORDER BY duration DESC, trace
LIMIT 25;
