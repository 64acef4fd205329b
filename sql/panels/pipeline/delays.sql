-- Seconds from a span's end until its row was stored, by when it was stored.
SELECT
    ingested_at, ts, trace_id, service,
    (toUnixTimestamp64Milli(ingested_at) - toUnixTimestamp64Milli(ts) - latency_ms) / 1000 AS delay
FROM agent_events
WHERE ingested_at >= $__fromTime AND ingested_at <= $__toTime AND ${filters};
