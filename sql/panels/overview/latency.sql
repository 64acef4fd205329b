SELECT
    time,
    if(isFinite(now[1]), now[1], NULL) AS p50,
    if(isFinite(now[2]), now[2], NULL) AS p95,
    if(isFinite(now[3]), now[3], NULL) AS p99,
    if(isFinite(earlier), earlier, NULL) AS week_before
FROM
(
    SELECT
        ${bucket} AS time,
        ${percentiles:latency if NOT before} AS now,
        ${percentiles:latency if before}[2] AS earlier
    FROM ${both_weeks_over_time}
    WHERE entry
    GROUP BY time
)
ORDER BY time;
