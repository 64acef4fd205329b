SELECT
    toDateTime($__timeInterval(ingested_at), 'UTC') AS time,
    quantile(0.5)(delay) AS median, quantile(0.95)(delay) AS p95, max(delay) AS longest
FROM ${table:delays}
GROUP BY time
ORDER BY time;
