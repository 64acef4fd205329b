-- Of the minutes (hours beyond two days, days beyond two weeks) of all services, the share whose P95 is within the service's target.
SELECT countIf(s.p95 <= o.latency_ms) / nullIf(count(), 0) AS within_target
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT
            service, ${period} AS period,
            ${percentiles:latency}[2] AS p95
        FROM ${rollup_over_time}
        WHERE entry
        GROUP BY service, period
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to;
