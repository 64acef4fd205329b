-- The highest burn rate of a service in the last hour.
SELECT maxOrNull(s.failed / s.requests / (1 - o.availability)) AS burn
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT service, sum(calls) AS requests, sum(errors) AS failed
        FROM agent_metrics_1m_state
        WHERE entry AND minute >= toStartOfMinute($__toTime) - INTERVAL 1 HOUR AND minute <= $__toTime AND ${filters}
        GROUP BY service
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to;
