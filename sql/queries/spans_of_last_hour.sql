-- The spans that were stored last, of which a sender may repeat some.
SELECT trace_id, span_id
FROM agent_events
WHERE ingested_at >= now() - INTERVAL 1 HOUR
ORDER BY ingested_at DESC
LIMIT 1000000;
