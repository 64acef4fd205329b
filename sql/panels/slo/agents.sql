-- In which agents the requests fail: of the traces with a failed request, those in which a span of the agent failed.
SELECT
    agent,
    uniqExact(trace_id) AS failed_requests,
    failed_requests / any(all_failed) AS of_the_failed,
    topK(1)(error_type)[1] AS most_frequent_error,
    argMax(trace_id, ts) AS latest
FROM
(
    SELECT trace_id, spans, count() OVER () AS all_failed
    FROM
    (
        SELECT trace_id, groupArrayIf((agent, error_type, ts), agent != '') AS spans
        FROM agent_events
        WHERE $__timeFilter(ts) AND status = 'error' AND ${filters}
        GROUP BY trace_id
        HAVING max(entry) = 1
    )
)
ARRAY JOIN spans.1 AS agent, spans.2 AS error_type, spans.3 AS ts
GROUP BY agent
ORDER BY failed_requests DESC, agent
LIMIT 50;
