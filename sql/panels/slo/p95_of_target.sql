-- P95 of each service's requests as a share of its target: above 1 it is missed.
SELECT s.time AS time, if(s.service = '', '(none)', s.service) AS name, s.p95 / o.latency_ms AS p95
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT ${bucket} AS time, service, ${percentiles:latency}[2] AS p95
        FROM ${rollup_over_time}
        WHERE entry
        GROUP BY time, service
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to
ORDER BY time, name;
