-- Rows a second by when they were stored.
SELECT
    toDateTime($__timeInterval(ingested_at), 'UTC') AS time, if(service = '', '(none)', service) AS name,
    count() / $__interval_s AS rows_per_second
FROM agent_events
WHERE ingested_at >= $__fromTime AND ingested_at <= $__toTime AND ${filters}
GROUP BY time, name
ORDER BY time, name;
