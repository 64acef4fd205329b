SELECT
    ${label:service} AS service,
    ${label:route} AS route,
    n AS requests,
    failed / nullIf(n, 0) AS error_rate,
    if(isFinite(now[1]), now[1], NULL) AS p50,
    if(isFinite(now[2]), now[2], NULL) AS p95,
    if(isFinite(now[3]), now[3], NULL) AS p99,
    if(isFinite(earlier), earlier, NULL) AS p95_before
FROM
(
    SELECT
        service, route,
        sumIf(calls, NOT before) AS n,
        sumIf(errors, NOT before) AS failed,
        ${percentiles:latency if NOT before} AS now,
        ${percentiles:latency if before}[2] AS earlier
    FROM ${both_weeks}
    WHERE entry
    GROUP BY service, route
    HAVING n > 0
)
ORDER BY p95 DESC, service, route
LIMIT 100;
