-- Who sends, by when rows were stored, and who has stopped.
SELECT
    ${label:service} AS service,
    count() AS rows,
    uniqExact(cityHash64(trace_id)) AS traces,
    rows / sum(rows) OVER () AS share,
    max(ts) AS newest_span,
    dateDiff('second', max(ingested_at), toDateTime64($__toTime, 3)) AS silent_seconds,
    quantile(0.95)(delay) AS p95_delay
FROM ${table:delays}
GROUP BY service
ORDER BY rows DESC, service
LIMIT 200;
