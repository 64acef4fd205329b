-- Of the minutes (hours beyond two days) of all services, the share whose P95 is within the service's target.
SELECT countIf(s.p95 <= o.latency_ms) / nullIf(count(), 0) AS within_target
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT
            service, if($__toTime - $__fromTime <= 172800, time, toStartOfHour(time)) AS period,
            quantilesTDigestMerge(0.5, 0.95, 0.99)(latency)[2] AS p95
        FROM ${rollup}
        WHERE entry
        GROUP BY service, period
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to;
