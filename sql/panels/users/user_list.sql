-- The users with most failed requests.
SELECT
    user_id_hash AS user,
    any(${label:tenant_id}) AS tenant,
    countIf(entry) AS requests,
    countIf(entry AND status = 'error') AS failed,
    failed / nullIf(requests, 0) AS error_rate,
    uniqExactIf(session_id, session_id != '') AS sessions,
    toFloat64(sum(cost_usd)) AS usd,
    max(ts) AS last_seen,
    argMaxIf(trace_id, ts, entry AND status = 'error') AS latest_failed
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND user_id_hash != ''
GROUP BY user_id_hash
ORDER BY failed DESC, requests DESC, user
LIMIT 50;
