-- Per service, the P95 of its requests in the whole minutes of the time range, as a multiple of the objective; 0 where
-- there were fewer than 20 requests. A service's own objective comes after the one for all, which has no name.
SELECT
    if(r.service = '', '(none)', r.service) AS service,
    if(any(r.requests) >= 20, any(r.p95) / argMax(o.latency_ms, o.service), 0) AS times_target
FROM
(
    SELECT service, sum(calls) AS requests, ${percentiles:latency}[2] AS p95
    FROM agent_metrics_1m_state
    WHERE minute >= toStartOfMinute($__fromTime) AND minute < toStartOfMinute($__toTime) AND entry
    GROUP BY service
) AS r
CROSS JOIN objectives AS o
WHERE o.service = '' OR o.service = r.service
GROUP BY r.service;
