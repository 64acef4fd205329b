-- Of the eight routes with the most requests.
WITH top AS
(
    SELECT route
    FROM ${rollup}
    WHERE entry AND route != ''
    GROUP BY route
    ORDER BY sum(calls) DESC, route
    LIMIT 8
)
SELECT time, series AS route, p95
FROM
(
    SELECT ${bucket} AS time, ${label:route} AS series, ${percentiles:latency}[2] AS p95
    FROM ${rollup_over_time}
    WHERE entry AND route != '' AND route IN (SELECT route FROM top)
    GROUP BY time, series
)
WHERE isFinite(p95)
ORDER BY time, route;
